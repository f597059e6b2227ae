//! The `math` verifier: answer extraction and equality of mathematical answers.
//!
//! Extraction follows open-instruct (last `\boxed{}`, Minerva's answer line, the last `$...$`, the whole text).
//! Equality is the string tier of Hendrycks' MATH plus equality of rational numbers (`0.5`, `1/2`, `\frac{1}{2}`,
//! `50\%`). Symbolic equivalence (`x+1` and `1+x`) is not decided: such answers count as different.

/// Whether any answer candidate of the response equals the truth.
pub(super) fn is_equivalent(response: &str, truth: &str) -> bool {
    candidates(response).iter().any(|candidate| equal(candidate, truth))
}

/// Possible answers in a response, best first.
pub(super) fn candidates(response: &str) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(boxed) = last_boxed(response) {
        found.push(boxed);
    }
    if let Some((_, rest)) = response.rsplit_once("Final Answer: The final answer is ") {
        let answer = rest.split(". I hope it is correct").next().unwrap_or(rest);
        found.push(answer.trim().to_string());
    }
    if found.is_empty() {
        let mut pieces = response.rsplit('$');
        if let (Some(_), Some(inside), Some(_)) = (pieces.next(), pieces.next(), pieces.next()) {
            found.push(inside.trim().to_string());
        }
    }
    if found.is_empty() {
        let last = response.rsplit('=').next().unwrap_or(response);
        found.push(last.trim().to_string());
        found.push(response.trim().to_string());
    }
    found
}

/// The content of the last `\boxed{...}` or `\fbox{...}`, braces matched, or `\boxed x` up to the next `$`.
pub(super) fn last_boxed(text: &str) -> Option<String> {
    let start = text.rfind("\\boxed").or_else(|| text.rfind("\\fbox"))?;
    let after = &text[start..];
    let rest = after.strip_prefix("\\boxed").or_else(|| after.strip_prefix("\\fbox"))?;
    if let Some(inside) = rest.strip_prefix(' ') {
        return Some(inside.split('$').next().unwrap_or(inside).trim().to_string());
    }
    let body = rest.strip_prefix('{')?;
    let mut depth = 1;
    for (at, c) in body.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(body[..at].to_string());
        }
    }
    None
}

fn equal(a: &str, b: &str) -> bool {
    let (a, b) = (normalise(a), normalise(b));
    a == b || matches!((rational(&a), rational(&b)), (Some(x), Some(y)) if x.0 * y.1 == y.0 * x.1)
}

/// Hendrycks' string normalisation, without its special cases for spelling out fractions (numbers are compared as
/// rationals instead).
pub(super) fn normalise(text: &str) -> String {
    let mut text = text.trim().trim_matches('$').to_string();
    for (from, to) in [
        ("\n", ""),
        ("\\!", ""),
        ("\\\\", "\\"),
        ("tfrac", "frac"),
        ("dfrac", "frac"),
        ("\\left", ""),
        ("\\right", ""),
        ("^{\\circ}", ""),
        ("^\\circ", ""),
        ("\\$", ""),
        ("\\%", ""),
        ("%", ""),
    ] {
        text = text.replace(from, to);
    }
    if let Some(at) = text.rfind("\\text{ ") {
        text.truncate(at);
    }
    if let Some((left, right)) = text.split_once('=')
        && left.trim().len() <= 2
    {
        text = right.to_string();
    }
    let mut text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    text = text.trim_end_matches('.').to_string();
    if text.starts_with('.') {
        text.insert(0, '0');
    }
    let digits_only = text.chars().all(|c| c.is_ascii_digit() || c == ',' || c == '.' || c == '-');
    if digits_only && !text.is_empty() {
        text = text.replace(',', "");
    }
    text
}

/// A normalised text as numerator and positive denominator, if it is an integer, a decimal, `a/b` or `\frac{a}{b}`.
fn rational(text: &str) -> Option<(i128, i128)> {
    if let Some(rest) = text.strip_prefix("-\\frac") {
        let (n, d) = rational(&format!("\\frac{rest}"))?;
        return Some((-n, d));
    }
    if let Some(rest) = text.strip_prefix("\\frac") {
        let (n, d) = match rest.strip_prefix('{') {
            Some(inner) => {
                let (n, d) = inner.split_once("}{")?;
                (n.to_string(), d.strip_suffix('}')?.to_string())
            }
            None if rest.len() == 2 && rest.is_ascii() => (rest[..1].to_string(), rest[1..].to_string()),
            None => return None,
        };
        return quotient(&n, &d);
    }
    match text.split_once('/') {
        Some((n, d)) => quotient(n, d),
        None => decimal(text),
    }
}

fn quotient(n: &str, d: &str) -> Option<(i128, i128)> {
    let ((a, b), (c, e)) = (decimal(n)?, decimal(d)?);
    let (n, d) = (a.checked_mul(e)?, b.checked_mul(c)?);
    match d.signum() {
        0 => None,
        sign => Some((n * sign, d * sign)),
    }
}

fn decimal(text: &str) -> Option<(i128, i128)> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all = format!("{whole}{fraction}");
    // 18 digits keep every later product of two such numbers inside an i128.
    if all.is_empty() || all.len() > 18 || !all.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some((sign * all.parse::<i128>().ok()?, 10_i128.pow(u32::try_from(fraction.len()).ok()?)))
}
