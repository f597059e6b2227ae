//! Words as spaCy's blank English tokenizer cuts them, on which datatrove's English filters count.
//! Knows the general rules (space, marks at both ends, hyphens and marks inside, contractions, units), and not spaCy's list of
//! abbreviations or its test for addresses; on running text the counts agree within a fraction of a percent.

use crate::tagger::python::is_space;

/// Marks that are cut off at both ends.
fn is_mark(c: char) -> bool {
    matches!(
        c,
        ',' | ':'
            | ';'
            | '!'
            | '?'
            | '¿'
            | '؟'
            | '¡'
            | '('
            | ')'
            | '['
            | ']'
            | '{'
            | '}'
            | '<'
            | '>'
            | '_'
            | '#'
            | '*'
            | '&'
            | '。'
            | '？'
            | '！'
            | '，'
            | '、'
            | '；'
            | '：'
            | '～'
            | '·'
            | '।'
            | '،'
            | '۔'
            | '؛'
            | '٪'
            | '…'
            | '\''
            | '"'
            | '”'
            | '“'
            | '`'
            | '‘'
            | '´'
            | '’'
            | '‚'
            | '„'
            | '»'
            | '«'
            | '「'
            | '」'
            | '『'
            | '』'
            | '（'
            | '）'
            | '〔'
            | '〕'
            | '【'
            | '】'
            | '《'
            | '》'
            | '〈'
            | '〉'
            | '⟦'
            | '⟧'
            | '—'
            | '–'
    )
}

fn is_quote(c: char) -> bool {
    matches!(c, '\'' | '"' | '”' | '“' | '`' | '‘' | '´' | '’' | '‚' | ',' | '„' | '»' | '«')
}

fn is_currency(c: char) -> bool {
    matches!(c, '$' | '£' | '€' | '¥' | '฿' | '₽' | '﷼' | '₴')
}

/// Other symbols that are a word by themselves.
fn is_icon(c: char) -> bool {
    matches!(c as u32, 0xa6 | 0xa9 | 0xae | 0xb0 | 0x482 | 0x2100..=0x214f | 0x2190..=0x23ff | 0x2500..=0x2bff | 0x1f000..=0x1faff)
}

/// All words of a text.
pub(super) fn words(text: &str) -> Vec<&str> {
    let mut words = Vec::with_capacity(text.len() / 5);
    for piece in text.split(is_space).filter(|piece| !piece.is_empty()) {
        if piece.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            contraction(piece, &mut words);
        } else {
            cut(piece, &mut words);
        }
    }
    words
}

/// Bytes of the mark at the start of a piece, if there is one.
fn prefix(piece: &str) -> Option<usize> {
    let dots = piece.len() - piece.trim_start_matches('.').len();
    if dots >= 2 {
        return Some(dots);
    }
    let mut chars = piece.chars();
    let first = chars.next()?;
    let plus = first == '+' && !chars.next().is_some_and(|c| c.is_ascii_digit());
    let mark = is_mark(first) || is_currency(first) || is_icon(first) || matches!(first, '§' | '%' | '=') || plus;
    mark.then(|| if first == '…' { piece.len() - piece.trim_start_matches('…').len() } else { first.len_utf8() })
}

/// Bytes of the mark at the end of a piece, if there is one.
fn suffix(piece: &str) -> Option<usize> {
    for possessive in ["'s", "'S", "’s", "’S"] {
        if piece.ends_with(possessive) {
            return Some(possessive.len());
        }
    }
    let dots = piece.len() - piece.trim_end_matches('.').len();
    if dots >= 2 {
        return Some(dots);
    }
    let mut chars = piece.chars().rev();
    let (last, before) = (chars.next()?, chars.next());
    if is_mark(last) || is_icon(last) {
        return Some(if last == '…' { piece.len() - piece.trim_end_matches('…').len() } else { last.len_utf8() });
    }
    let before = before?;
    let cut = match last {
        '+' => before.is_ascii_digit(),
        '.' => {
            let plain = before.is_lowercase()
                || before.is_ascii_digit()
                || matches!(before, '%' | '²' | '-' | '+')
                || (is_mark(before) && before != '_');
            let capitals = before.is_uppercase() && chars.next().is_some_and(char::is_uppercase);
            plain || capitals
        }
        c if is_currency(c) || c == '%' => before.is_ascii_digit(),
        _ => false,
    };
    if cut {
        return Some(last.len_utf8());
    }
    let units = [
        "km", "m", "cm", "mm", "ha", "kg", "g", "mg", "kB", "MB", "GB", "TB", "KB", "Kb", "Mb", "Gb", "mph", "hPa", "Pa", "T",
        "G", "M", "K", "h",
    ];
    let number = piece.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = &piece[number.len()..];
    (number.ends_with(|c: char| c.is_ascii_digit()) && units.contains(&unit)).then_some(unit.len())
}

fn cut<'a>(piece: &'a str, words: &mut Vec<&'a str>) {
    let mut middle = piece;
    let mut behind = Vec::new();
    loop {
        let before = middle.len();
        if is_whole(middle) {
            break;
        }
        if let Some(n) = prefix(middle) {
            words.push(&middle[..n]);
            middle = &middle[n..];
        }
        if !middle.is_empty()
            && !is_whole(middle)
            && let Some(n) = suffix(middle)
        {
            behind.push(&middle[middle.len() - n..]);
            middle = &middle[..middle.len() - n];
        }
        if middle.is_empty() || middle.len() == before {
            break;
        }
    }
    if !middle.is_empty() {
        inside(middle, words);
    }
    words.extend(behind.into_iter().rev());
}

/// Pieces that are one word although they end in a mark.
fn is_whole(piece: &str) -> bool {
    matches!(
        piece,
        "e.g."
            | "i.e."
            | "Mr."
            | "Mrs."
            | "Ms."
            | "Dr."
            | "vs."
            | "etc."
            | "a.m."
            | "p.m."
            | "Inc."
            | "Co."
            | "Corp."
            | "Jr."
            | "St."
            | "v.s."
    ) || piece.len() == 2 && piece.ends_with('.') && piece.as_bytes()[0].is_ascii_lowercase()
}

/// Cuts at hyphens and marks between letters.
fn inside<'a>(piece: &'a str, words: &mut Vec<&'a str>) {
    let chars: Vec<(usize, char)> = piece.char_indices().collect();
    let mut start = 0;
    let mut i = 1;
    while i + 1 < chars.len() {
        let (at, c) = chars[i];
        let (before, after) = (chars[i - 1].1, chars[i + 1].1);
        let word = |c: char| c.is_alphabetic();
        let dots = chars[i..].iter().take_while(|(_, c)| *c == '.').count();
        let length = match c {
            '.' if dots >= 2 => dots,
            '.' if (before.is_lowercase() || is_quote(before)) && (after.is_uppercase() || is_quote(after)) => 1,
            ',' if word(before) && word(after) => 1,
            '…' => 1,
            '+' | '*' | '^' if before.is_ascii_digit() && (after.is_ascii_digit() || after == '-') => 1,
            '-' if before.is_ascii_digit() && (after.is_ascii_digit() || after == '-') => 1,
            '-' | '–' | '—' | '~' => {
                let run = chars[i..].iter().take_while(|(_, c)| matches!(c, '-' | '—')).count().max(1);
                let next = chars.get(i + run).is_some_and(|(_, c)| word(*c));
                if (word(before) || before.is_ascii_digit()) && next { run } else { 0 }
            }
            ':' | '<' | '>' | '=' | '/' if (word(before) || before.is_ascii_digit()) && word(after) => 1,
            c if is_icon(c) => 1,
            _ => 0,
        };
        if length == 0 {
            i += 1;
            continue;
        }
        let end = chars.get(i + length).map_or(piece.len(), |(at, _)| *at);
        if at > start {
            contraction(&piece[start..at], words);
        }
        words.push(&piece[at..end]);
        start = end;
        i += length + 1;
    }
    if start < piece.len() {
        contraction(&piece[start..], words);
    }
}

/// Cuts `don't` into `do` and `n't`, and the like.
fn contraction<'a>(word: &'a str, words: &mut Vec<&'a str>) {
    if word == "cannot" || word == "Cannot" {
        words.extend([&word[..3], &word[3..]]);
        return;
    }
    let mark = word.contains(['\'', '’']);
    for ending in if mark {
        ["n't", "n’t", "'ll", "’ll", "'re", "’re", "'ve", "’ve", "'d", "’d", "'m", "’m"].as_slice()
    } else {
        &[]
    } {
        if let Some(stem) = word.strip_suffix(ending)
            && !stem.is_empty()
            && stem.len() <= 6
        {
            words.extend([stem, &word[stem.len()..]]);
            return;
        }
    }
    words.push(word);
}

#[cfg(test)]
mod tests {
    #[test]
    fn cuts_as_spacy_does() {
        let cases = [
            ("Hello, world!", "Hello|,|world|!"),
            ("(e.g. don't) \"I'll\"", "(|e.g.|do|n't|)|\"|I|'ll|\""),
            ("state-of-the-art foo/bar 3.14 10km", "state|-|of|-|the|-|art|foo|/|bar|3.14|10|km"),
            ("wait... what?! end.Next John's", "wait|...|what|?|!|end|.|Next|John|'s"),
            ("$5 #tag x_y __init__ a,b U.S. cannot", "$|5|#|tag|x_y|_|_|init|_|_|a|,|b|U.S.|can|not"),
        ];
        for (text, expected) in cases {
            assert_eq!(super::words(text).join("|"), expected, "{text}");
        }
    }
}
