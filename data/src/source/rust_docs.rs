//! Separates a Rust source file into its documentation comments and the code without them.
//! Knows just enough of Rust's lexical structure (strings, characters, nested comments) not to be fooled; parses nothing.

/// A source file in two parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Parts {
    /// The text of `///`, `//!`, `/** */` and `/*! */`, without markers and common indent; runs of adjacent line comments are one
    /// block, blocks are separated by an empty line.
    pub(crate) docs: String,
    /// The file without those comments: lines that held nothing else are gone.
    pub(crate) code: String,
}

/// Takes a source file apart. Works on any text; what is not Rust comes out mostly as code.
pub(crate) fn separate(source: &str) -> Parts {
    let bytes = source.as_bytes();
    let mut parts = Parts::default();
    let mut block: Vec<&str> = Vec::new();
    let mut i = 0;
    let mut copied = 0;
    while i < bytes.len() {
        let start = i;
        i = match bytes[i] {
            b'/' if bytes.get(i + 1) == Some(&b'/') => {
                let end = line_end(bytes, i);
                if let Some(text) = line_doc(&source[start..end]) {
                    // The indent before the comment goes with it, and the newline after it if nothing else is on the line.
                    let indent = source[copied..start].trim_end_matches([' ', '\t']).len() + copied;
                    let alone = indent == 0 || bytes[indent - 1] == b'\n';
                    push_code(&mut parts.code, &source[copied..if alone { indent } else { start }], &mut block, &mut parts.docs);
                    block.push(text);
                    copied = if alone { (end + 1).min(bytes.len()) } else { end };
                    copied
                } else {
                    end
                }
            }
            b'/' if bytes.get(i + 1) == Some(&b'*') => {
                let end = block_comment_end(bytes, i);
                if let Some(text) = block_doc(&source[start..end]) {
                    let indent = source[copied..start].trim_end_matches([' ', '\t']).len() + copied;
                    let alone = (indent == 0 || bytes[indent - 1] == b'\n') && matches!(bytes.get(end), None | Some(b'\n'));
                    push_code(&mut parts.code, &source[copied..if alone { indent } else { start }], &mut block, &mut parts.docs);
                    flush(&mut block, &mut parts.docs);
                    push_block(&mut parts.docs, text.lines().map(|line| strip_star(line).to_owned()).collect());
                    copied = if alone { (end + 1).min(bytes.len()) } else { end };
                    copied
                } else {
                    end
                }
            }
            b'"' => string_end(bytes, i + 1),
            b'r' | b'b' | b'c' if !is_identifier(bytes, i.wrapping_sub(1)) => literal_end(bytes, i),
            b'\'' => character_end(source, i),
            _ => i + 1,
        };
    }
    push_code(&mut parts.code, &source[copied..], &mut block, &mut parts.docs);
    flush(&mut block, &mut parts.docs);
    parts
}

/// Copies code; anything but space in it ends the current block of line comments.
fn push_code<'a>(code: &mut String, piece: &'a str, block: &mut Vec<&'a str>, docs: &mut String) {
    if !piece.trim().is_empty() || piece.contains('\n') {
        flush(block, docs);
    }
    code.push_str(piece);
}

fn flush(block: &mut Vec<&str>, docs: &mut String) {
    if !block.is_empty() {
        push_block(docs, block.iter().map(|line| (*line).to_owned()).collect());
        block.clear();
    }
}

/// Appends a block without its common indent and its empty ends.
fn push_block(docs: &mut String, lines: Vec<String>) {
    let indent =
        lines.iter().filter(|line| !line.trim().is_empty()).map(|line| line.len() - line.trim_start_matches(' ').len()).min();
    let indent = indent.unwrap_or(0);
    let mut text = String::new();
    for line in &lines {
        text.push_str(line.get(indent..).unwrap_or("").trim_end());
        text.push('\n');
    }
    let text = text.trim_matches('\n');
    if !text.trim().is_empty() {
        if !docs.is_empty() {
            docs.push('\n');
        }
        docs.push_str(text);
        docs.push('\n');
    }
}

/// The text of a line comment if it documents: three slashes (not four) or `//!`.
fn line_doc(comment: &str) -> Option<&str> {
    let comment = comment.strip_suffix('\r').unwrap_or(comment);
    match comment.strip_prefix("//!") {
        Some(text) => Some(text),
        None => comment.strip_prefix("///").filter(|text| !text.starts_with('/')),
    }
}

/// The text of a block comment if it documents: `/**` (not `/***` or `/**/`) or `/*!`.
fn block_doc(comment: &str) -> Option<&str> {
    let inner = comment.strip_suffix("*/").unwrap_or(comment);
    if comment == "/**/" {
        return None;
    }
    match inner.strip_prefix("/*!") {
        Some(text) => Some(text),
        None => inner.strip_prefix("/**").filter(|text| !text.starts_with('*')),
    }
}

/// A line of a block comment without its leading star.
fn strip_star(line: &str) -> &str {
    let trimmed = line.trim_start();
    match trimmed.strip_prefix('*') {
        Some(rest) if rest.is_empty() || rest.starts_with(' ') => rest,
        _ => line,
    }
}

fn line_end(bytes: &[u8], from: usize) -> usize {
    memchr::memchr(b'\n', &bytes[from..]).map_or(bytes.len(), |offset| from + offset)
}

/// One past a block comment, which may hold others.
fn block_comment_end(bytes: &[u8], from: usize) -> usize {
    let mut depth = 0usize;
    let mut i = from;
    while i + 1 < bytes.len() {
        match &bytes[i..i + 2] {
            b"/*" => {
                depth += 1;
                i += 2;
            }
            b"*/" => {
                depth -= 1;
                i += 2;
                if depth == 0 {
                    return i;
                }
            }
            _ => i += 1,
        }
    }
    bytes.len()
}

/// One past a string whose first byte after the quote is `from`.
fn string_end(bytes: &[u8], from: usize) -> usize {
    let mut i = from;
    while let Some(offset) = bytes.get(i..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        match bytes[i + offset] {
            b'"' => return i + offset + 1,
            _ => i += offset + 2,
        }
    }
    bytes.len()
}

/// One past a literal that begins with `r`, `b` or `c` (`r"`, `r#"`, `br"`, `b"`, `c"`), or past the identifier it turns out to be.
fn literal_end(bytes: &[u8], from: usize) -> usize {
    let mut i = from;
    while matches!(bytes.get(i), Some(b'r' | b'b' | b'c')) && i < from + 2 {
        i += 1;
    }
    let raw = bytes[i - 1] == b'r';
    let hashes = if raw { bytes[i..].iter().take_while(|&&byte| byte == b'#').count() } else { 0 };
    match bytes.get(i + hashes) {
        Some(b'"') if raw => {
            let mut i = i + hashes + 1;
            while let Some(offset) = memchr::memchr(b'"', &bytes[i..]) {
                i += offset + 1;
                if bytes[i..].iter().take(hashes).filter(|&&byte| byte == b'#').count() == hashes {
                    return i + hashes;
                }
            }
            bytes.len()
        }
        Some(b'"') => string_end(bytes, i + 1),
        _ => {
            let mut end = from + 1;
            while is_identifier(bytes, end) {
                end += 1;
            }
            end
        }
    }
}

fn is_identifier(bytes: &[u8], i: usize) -> bool {
    bytes.get(i).is_some_and(|&byte| byte == b'_' || byte.is_ascii_alphanumeric() || byte >= 0x80)
}

/// One past a character literal, or past the quote of a lifetime.
fn character_end(source: &str, from: usize) -> usize {
    let bytes = source.as_bytes();
    if bytes.get(from + 1) == Some(&b'\\') {
        return match bytes.get(from + 3..).and_then(|rest| memchr::memchr(b'\'', rest)) {
            Some(offset) => from + 3 + offset + 1,
            None => bytes.len(),
        };
    }
    let mut characters = source[from + 1..].char_indices();
    match (characters.next(), characters.next()) {
        (Some(_), Some((offset, '\''))) => from + 1 + offset + 1,
        _ => from + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn docs_and_code_are_separated() {
        let source = "//! Crate docs.\n//!\n//!     indented\n\nuse a; // plain\n\n/// Does `it`.\n///\n/// ```\n/// x()\n/// ```\nfn f() {\n    /// inner\n    let s = \"/// not a doc\";\n    //// four\n}\n";
        let parts = separate(source);
        assert_eq!(parts.docs, "Crate docs.\n\n    indented\n\nDoes `it`.\n\n```\nx()\n```\n\ninner\n");
        assert_eq!(parts.code, "\nuse a; // plain\n\nfn f() {\n    let s = \"/// not a doc\";\n    //// four\n}\n");
    }

    #[test]
    fn literals_and_nested_comments_hide_markers() {
        let source = "let a = r#\"\n/// no \"\n\"#; let b = br\"/// no\"; let c = '\"'; let d: &'static str = \"\\\"/// no\";\nlet e = '\\''; /* /* /// no */ //! no */ let r = 1; /// yes\n";
        let parts = separate(source);
        assert_eq!(parts.docs, "yes\n");
        assert_eq!(parts.code, source.replace("/// yes", ""));
    }

    #[test]
    fn block_docs_lose_their_stars() {
        let parts = separate("/** One.\n *\n * Two\n *   three\n */\nfn f();\n/*** no */\n/**/\n/*! In. */\n");
        assert_eq!(parts.docs, "One.\n\nTwo\n  three\n\nIn.\n");
        assert_eq!(parts.code, "fn f();\n/*** no */\n/**/\n");
    }

    proptest! {
        #[test]
        fn never_panics_and_keeps_every_other_byte(source in "(///|//!|/\\*\\*?|\\*/|\"|'|r#|#|\\\\|\\n| |a|é|b|c){0,60}") {
            let parts = separate(&source);
            prop_assert!(parts.code.len() <= source.len());
            // What is taken as code is code when looked at again, unless taking docs out joined pieces of it.
            if parts.docs.is_empty() && !source.contains("//") && !source.contains("/*") {
                prop_assert_eq!(parts.code, source);
            }
        }

        #[test]
        fn never_panics_on_any_text(source in any::<String>()) {
            separate(&source);
        }
    }
}
