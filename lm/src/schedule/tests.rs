//! Curves against the formulas they are defined by.

use proptest::prelude::*;

use super::*;

fn schedule(shape: Shape) -> Schedule {
    Schedule { peak: 1.0, warmup: 10, total: 110, shape, rewarm: None }
}

/// One more period than the run needs.
fn periods() -> Shape {
    Shape::WsdS { periods: vec![60, 50], decay: 0.2, floor: 0.0 }
}

fn sequence() -> Shape {
    let part = |length, warmup, shape| Part { length, warmup, shape };
    Shape::Sequence(vec![part(60, 0, Shape::Linear { floor: 0.5 }), part(0, 10, Shape::Linear { floor: 0.0 })])
}

#[test]
fn first_warmup_and_last_positions() {
    // Position 1, W = 10, half way between W and N, N = 110 of every curve, by its formula with peak 1.
    let root = |position: f64| 0.1 + 0.9 * (10.0 / position).sqrt();
    for (shape, [first, warm, middle, last]) in [
        (Shape::Constant, [0.1, 1.0, 1.0, 1.0]),
        (Shape::Linear { floor: 0.0 }, [0.1, 1.0, 0.5, 0.0]),
        (Shape::Linear { floor: 0.1 }, [0.1, 1.0, 0.55, 0.1]),
        (Shape::Cosine { floor: 0.1 }, [0.1, 1.0, 0.55, 0.1]),
        (Shape::HalfCosine { floor: 0.1 }, [0.055, 0.55, 0.1 + 0.45 * (1.0 - 0.5_f64.sqrt()), 0.1]),
        (Shape::Wsd { decay: 20, floor: 0.0 }, [0.1, 1.0, 1.0, 0.0]),
        (periods(), [0.1, 1.0, 0.0, 0.0]),
        (Shape::InverseSqrt { floor: 0.1 }, [0.1, 1.0, root(60.0), root(110.0)]),
        (sequence(), [0.1, 1.0, 0.5, 0.0]),
    ] {
        let schedule = schedule(shape.clone());
        for (position, wanted) in [(1, first), (10, warm), (60, middle), (110, last)] {
            let rate = schedule.at(position);
            assert!((rate - wanted).abs() < 1e-12, "{shape:?} at {position}: {rate}, not {wanted}");
        }
        if !matches!(shape, Shape::InverseSqrt { .. }) {
            assert_eq!(schedule.at(110), schedule.at(500), "{shape:?}");
        }
    }
    assert_eq!(schedule(Shape::Wsd { decay: 20, floor: 0.0 }).at(90), 1.0);
    assert_eq!(schedule(Shape::Wsd { decay: 20, floor: 0.0 }).at(100), 0.5);
}

#[test]
fn periods_decay_and_rewind() {
    let schedule = schedule(periods());
    // The first period decays over 12, the second over 10.
    for (position, wanted) in [(48, 1.0), (54, 0.5), (59, 1.0 / 12.0), (60, 0.0), (61, 1.0), (100, 1.0), (105, 0.5), (111, 0.0)] {
        assert!((schedule.at(position) - wanted).abs() < 1e-12, "{position}: {}", schedule.at(position));
    }
}

#[test]
fn parts_start_from_the_rate_before_them() {
    let schedule = schedule(sequence());
    for (position, wanted) in [(35, 0.75), (60, 0.5), (61, 0.05), (70, 0.5), (90, 0.25)] {
        assert!((schedule.at(position) - wanted).abs() < 1e-12, "{position}: {}", schedule.at(position));
    }
}

#[test]
fn without_warmup_the_linear_anneal_ends_at_zero() {
    let anneal = Schedule { peak: 2e-4, warmup: 0, total: 50, shape: Shape::Linear { floor: 0.0 }, rewarm: None };
    assert!((anneal.at(1) - 2e-4 * 0.98).abs() < 1e-12);
    assert_eq!(anneal.at(50), 0.0);
}

#[test]
fn restart_after_growth_follows_the_published_curve() {
    // Peak .00213289, warm-up 3000, straight to 0 at step 250000, restart at 3319 with 200 steps.
    let restarted = Schedule {
        peak: 0.002_132_89,
        warmup: 3000,
        total: 250_000,
        shape: Shape::Linear { floor: 0.0 },
        rewarm: Some(Rewarm { start: 3319, steps: 200 }),
    };
    for (step, lr) in
        [(3319, 0.0), (3369, 5.3210e-4), (3419, 1.06420e-3), (3518, 2.11777e-3), (3519, 2.12841e-3), (4319, 2.12150e-3)]
    {
        assert!((restarted.at(step) - lr).abs() < 2e-8, "step {step}: {} is not {lr}", restarted.at(step));
    }
}

proptest! {
    #[test]
    fn the_rate_never_leaves_its_range(step in 1_u64..3000, warmup in 0_u64..200, total in 1_u64..2000, decay in 0_u64..500, pick in 0..7) {
        let shape = match pick {
            0 => Shape::Constant,
            1 => Shape::Linear { floor: 0.0 },
            2 => Shape::Cosine { floor: 0.1 },
            3 => Shape::HalfCosine { floor: 0.1 },
            4 => Shape::InverseSqrt { floor: 0.1 },
            5 => Shape::WsdS { periods: vec![200 + decay, total], decay: 0.3, floor: 0.01 },
            _ => Shape::Wsd { decay, floor: 0.05 },
        };
        let schedule = Schedule { peak: 3e-3, warmup, total, shape, rewarm: None };
        let lr = schedule.at(step);
        prop_assert!((0.0..=3e-3 + 1e-15).contains(&lr), "{lr}");
        // After the warm-up the rate only falls, but for the periods' rewinds.
        prop_assert!(step < warmup || pick == 5 || schedule.at(step + 1) <= lr + 1e-15);
    }
}
