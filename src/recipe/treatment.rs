//! What a recipe says of how steps are run: `needs`, `retry`, `timeout`, `temp`. Nothing of it reaches a key. It does not know how
//! steps are scheduled.

use std::any::TypeId;
use std::sync::Arc;

use rhai::{Dynamic, Engine, Map, NativeCallContext};

use plan::{ErrorClass, Policy, Resources, Site};

use super::call::Border;
use super::engine::site_of;
use super::handle::Handle;
use super::mistake::Mistake;
use crate::steps::params::closest;

/// Adds the functions.
pub(super) fn register(engine: &mut Engine, border: &Arc<Border>) {
    let handle = TypeId::of::<Handle>();
    let any = TypeId::of::<Dynamic>();
    let shared = border.clone();
    engine.register_raw_fn("needs", [handle, TypeId::of::<Map>()], move |context, arguments| {
        let map = arguments[1].clone().cast::<Map>();
        treat(&shared, &context, arguments, |resources, policy| needs(resources, policy, &map))
    });
    let shared = border.clone();
    engine.register_raw_fn("retry", [handle, any], move |context, arguments| {
        let how = arguments[1].clone();
        treat(&shared, &context, arguments, |_, policy| retry(policy, &how))
    });
    let shared = border.clone();
    engine.register_raw_fn("timeout", [handle, any], move |context, arguments| {
        let limit = arguments[1].clone();
        treat(&shared, &context, arguments, |_, policy| {
            policy.timeout_s = Some(seconds(&limit).ok_or_else(|| {
                Wrong::new(format!(
                    "a timeout is a number of seconds or a text such as \"90s\", \"30m\", \"2h\", \"3d\", not {limit}"
                ))
            })?);
            Ok(())
        })
    });
    let shared = border.clone();
    engine.register_raw_fn("temp", [handle], move |context, arguments| {
        treat(&shared, &context, arguments, |_, policy| {
            policy.temp = true;
            Ok(())
        })
    });
}

/// What is wrong, and what was probably meant.
struct Wrong(String, Option<String>);

impl Wrong {
    fn new(message: impl Into<String>) -> Self {
        Self(message.into(), None)
    }

    fn unknown(what: &str, name: &str, known: &[&str]) -> Self {
        Self(format!("{what} `{name}`; there are: {}", known.join(", ")), closest(name, known.iter().copied()))
    }
}

fn treat(
    border: &Border,
    context: &NativeCallContext<'_>,
    arguments: &[&mut Dynamic],
    act: impl FnOnce(&mut Resources, &mut Policy) -> Result<(), Wrong>,
) -> Result<Handle, Box<rhai::EvalAltResult>> {
    let handle = arguments[0].clone().cast::<Handle>();
    let site: Site = site_of(border, context);
    let mut state = border.session.lock();
    let (mut resources, mut policy) = match handle.step {
        Some(step) => (*state.resources(step), state.policy(step).clone()),
        None => Default::default(),
    };
    match act(&mut resources, &mut policy) {
        Ok(()) => {
            if let Some(step) = handle.step {
                *state.resources(step) = resources;
                *state.policy(step) = policy;
            }
        }
        Err(Wrong(message, meant)) => {
            let mut mistake = Mistake::new(site, message);
            mistake.suggestion = meant.map(|meant| format!("did you mean `{meant}`?"));
            state.mistake(mistake);
        }
    }
    drop(state);
    Ok(handle)
}

const NEEDS: [&str; 4] = ["cpus", "memory_mib", "gpus", "limits"];

fn needs(resources: &mut Resources, policy: &mut Policy, map: &Map) -> Result<(), Wrong> {
    for (name, value) in map {
        let positive = |value: &Dynamic, name: &str| {
            let number = value.as_int().ok().filter(|number| *number > 0);
            number.ok_or_else(|| Wrong::new(format!("`{name}` is a positive integer, not {value}")))
        };
        match name.as_str() {
            "cpus" => resources.cpus = u32::try_from(positive(value, name)?).unwrap_or(u32::MAX),
            "memory_mib" => resources.memory_mib = positive(value, name)?.unsigned_abs(),
            "gpus" => resources.gpus = u32::try_from(positive(value, name)?).unwrap_or(u32::MAX),
            "limits" => {
                let Some(limits) = value.read_lock::<Map>() else {
                    return Err(Wrong::new(format!("`limits` is a map such as #{{ downloads: 1 }}, not {value}")));
                };
                for (limit, amount) in limits.iter() {
                    let amount = u32::try_from(positive(amount, limit)?).unwrap_or(u32::MAX);
                    policy.limits.insert(limit.to_string(), amount);
                }
            }
            _ => return Err(Wrong::unknown("a step cannot need", name, &NEEDS)),
        }
    }
    Ok(())
}

const RETRY: [&str; 3] = ["times", "backoff", "on"];

fn retry(policy: &mut Policy, how: &Dynamic) -> Result<(), Wrong> {
    let count = |value: &Dynamic| {
        let number = value.as_int().ok().and_then(|number| u32::try_from(number).ok()).filter(|number| *number <= 1000);
        number.ok_or_else(|| Wrong::new(format!("the number of retries is an integer from 0 to 1000, not {value}")))
    };
    let Some(map) = how.read_lock::<Map>() else {
        // A number alone means: whatever went wrong.
        policy.retries = count(how)?;
        policy.retry_on = ErrorClass::ALL.map(|(_, class)| class).to_vec();
        return Ok(());
    };
    policy.retry_on = ErrorClass::ALL.map(|(_, class)| class).to_vec();
    for (name, value) in map.iter() {
        match name.as_str() {
            "times" => policy.retries = count(value)?,
            "backoff" => {
                policy.backoff_s = seconds(value).ok_or_else(|| Wrong::new(format!("`backoff` is a time, not {value}")))?;
            }
            "on" => {
                let names = ErrorClass::ALL.map(|(name, _)| name);
                let Some(list) = value.read_lock::<rhai::Array>() else {
                    return Err(Wrong::new(format!("`on` is a list of: {}", names.join(", "))));
                };
                policy.retry_on.clear();
                for class in list.iter() {
                    let class = class.to_string();
                    let known = ErrorClass::ALL.into_iter().find(|(name, _)| *name == class);
                    policy.retry_on.push(known.ok_or_else(|| Wrong::unknown("there is no class of errors", &class, &names))?.1);
                }
            }
            _ => return Err(Wrong::unknown("`retry` has no", name, &RETRY)),
        }
    }
    Ok(())
}

/// A positive time in seconds: a number, or a number with a unit.
fn seconds(value: &Dynamic) -> Option<f64> {
    let number = value.as_float().ok().or_else(|| value.as_int().ok().map(|number| number as f64));
    let number = number.or_else(|| {
        let text = value.clone().into_string().ok()?;
        let text = text.trim();
        let units = [("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0), ("d", 86400.0)];
        let (digits, unit) = units.iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit)))?;
        Some(digits.trim().parse::<f64>().ok()? * unit)
    })?;
    (number > 0.0 && number.is_finite()).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        let texts = ["90s", "1.5m", "2 h", "3d", "250ms"].map(|text| seconds(&Dynamic::from(text.to_owned())));
        assert_eq!(texts, [90.0, 90.0, 7200.0, 259_200.0, 0.25].map(Some));
        assert_eq!(seconds(&Dynamic::from(5_i64)), Some(5.0));
        for wrong in ["", "h", "-2s", "5 weeks", "infs"] {
            assert_eq!(seconds(&Dynamic::from(wrong.to_owned())), None, "{wrong}");
        }
    }
}
