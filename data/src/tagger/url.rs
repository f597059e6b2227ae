//! Lists of domains and addresses, and whether a document's `metadata.url` is on one: Dolma's url taggers.
//! Knows the formats of lists; which list it is, and whether being on it is good or bad, is the caller's.
//!
//! A line of a list is a host, an address, `IP host`, or `||host^`. Of Adblock rules only `||host^` is understood (it covers the host
//! and those below it); other rules are counted and left out.

use super::{Compat, Emitted, Found, Shape, Tagger, Text};
use crate::document::Document;
use crate::error::DataError;
use regex::Regex;
use std::collections::HashSet;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::LazyLock;

/// What of an address is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// The host, with and without `www.`.
    Domain,
    /// Host, port and path.
    Link,
    /// The host and every domain above it.
    Suffix,
}

/// A tagger with its list.
pub(crate) struct UrlList {
    name: String,
    part: Part,
    compat: Compat,
    entries: HashSet<String, ahash::RandomState>,
    /// Lines that are neither comments nor entries.
    pub(crate) odd: u64,
}

impl UrlList {
    /// Reads a list. What is looked up follows from the tagger's name as in Dolma: `link_…` addresses, `…_abp_v1` Adblock domains,
    /// all others domains.
    ///
    /// Fails when a file has no entry.
    pub(crate) fn load(name: &str, files: &[impl AsRef<Path>], compat: Compat) -> Result<UrlList, DataError> {
        let part = match name {
            name if name.starts_with("link_") => Part::Link,
            name if name.contains("_abp") => Part::Suffix,
            _ => Part::Domain,
        };
        let mut list = UrlList { name: name.to_owned(), part, compat, entries: HashSet::default(), odd: 0 };
        for file in files {
            let before = list.entries.len();
            let bytes = fs_err::read(file.as_ref())?;
            let text = if bytes.starts_with(&[0x1f, 0x8b]) {
                let mut text = Vec::new();
                std::io::Read::read_to_end(&mut flate2::read::MultiGzDecoder::new(bytes.as_slice()), &mut text)?;
                text
            } else {
                bytes
            };
            for line in String::from_utf8_lossy(&text).lines() {
                list.line(line);
            }
            if list.entries.len() == before {
                return Err(DataError::format(file.as_ref(), "it has no domain or address; one entry a line is expected"));
            }
        }
        Ok(list)
    }

    fn line(&mut self, line: &str) {
        static ADDRESS: LazyLock<Regex> =
            LazyLock::new(|| pattern(r"^([0-9a-f.:]+)\s+((?:[a-z0-9\-_]+\.?){2,}|localhost|localdomain)"));
        static HOST: LazyLock<Regex> = LazyLock::new(|| pattern(r"^(?:(?:[a-z0-9\-_]+\.?){2,}|localhost|localdomain)"));
        static ADBLOCK: LazyLock<Regex> = LazyLock::new(|| pattern(r"^\|+((?:[a-z0-9\-_]+\.?){2,}|localhost|localdomain)\^"));
        let line = line.trim().to_lowercase();
        if line.is_empty() || line.starts_with(['#', ';', '!']) {
            return;
        }
        if self.name == "link_blocklist_phishing_v1" {
            self.entries.insert(line);
        } else if self.part == Part::Suffix {
            match ADBLOCK.captures(&line) {
                Some(found) => drop(self.entries.insert(found[1].to_owned())),
                None => self.odd += 1,
            }
        } else if let Some(found) = ADDRESS.captures(&line) {
            let (ip, host) = (&found[1], &found[2]);
            if ip.parse::<Ipv4Addr>().is_err() && ip.parse::<Ipv6Addr>().is_err() {
                self.odd += 1;
                return;
            }
            // Dolma means to leave out addresses of this host, but its test never holds.
            let own = ["127.0.0.1", "0.0.0.0", "::1"].contains(&ip);
            if !own || self.compat == Compat::Dolma12 {
                self.entries.insert(ip.to_owned());
            }
            if host != "localhost" && host != "localdomain" {
                self.entries.extend(self.clean(host));
            }
        } else if HOST.is_match(&line) {
            self.entries.extend(self.clean(&line));
        } else if let Some(found) = ADBLOCK.captures(&line) {
            self.entries.insert(found[1].to_owned());
        } else {
            self.odd += 1;
        }
    }

    /// The strings under which an address is looked up.
    fn clean(&self, url: &str) -> Vec<String> {
        let Some(clean) = clean(url) else { return Vec::new() };
        match self.part {
            Part::Link => vec![clean],
            Part::Domain => {
                let host = host(&clean);
                let bare = if self.compat == Compat::Dolma12 {
                    // Dolma takes off all leading `w` and `.`, so that `wikipedia.org` and `ikipedia.org` are one.
                    host.trim_start_matches(['w', '.'])
                } else {
                    host.strip_prefix("www.").unwrap_or(host)
                };
                if host.is_empty() { Vec::new() } else { vec![bare.to_owned(), format!("www.{bare}")] }
            }
            Part::Suffix => {
                let host = host(&clean);
                let dots = host.match_indices('.').map(|(at, _)| host[at + 1..].to_owned());
                std::iter::once(host.to_owned()).chain(dots).collect()
            }
        }
    }
}

fn pattern(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a constant pattern")
}

/// The host of a cleaned address.
fn host(clean: &str) -> &str {
    let end = clean.find('/').unwrap_or(clean.len());
    let authority = &clean[..end];
    match authority.rfind(':') {
        Some(colon) if !authority.ends_with(']') => &authority[..colon],
        _ => authority,
    }
}

/// Host, port and path of an address in lower case, without the slash at the end; scheme, user, query and fragment are dropped.
/// `None` for what is no address.
pub(crate) fn clean(url: &str) -> Option<String> {
    let url = url.trim();
    let rest = match url.find("://") {
        Some(at) if url[..at].bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b)) => &url[at + 3..],
        _ => url.strip_prefix("//").unwrap_or(url),
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let authority = &rest[..end];
    let path_end = rest[end..].find(['?', '#']).map_or(rest.len(), |at| end + at);
    let path = &rest[end..path_end];
    let place = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
    if place.is_empty() || place.contains(char::is_whitespace) {
        return None;
    }
    let mut out = place.trim_end_matches(':').to_lowercase();
    let mut kept: Vec<&str> = Vec::new();
    for part in path.split('/').skip(1) {
        match part {
            "." => {}
            ".." => drop(kept.pop()),
            part => kept.push(part),
        }
    }
    for part in kept {
        out.push('/');
        for byte in part.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@%".contains(&byte) {
                out.push(byte.to_ascii_lowercase() as char);
            } else {
                out.push_str(&format!("%{byte:02x}"));
            }
        }
    }
    out.truncate(out.trim_end_matches('/').len());
    Some(out)
}

impl Tagger for UrlList {
    fn name(&self) -> &str {
        &self.name
    }

    fn group(&self) -> &'static str {
        "url"
    }

    fn types(&self) -> &'static [Emitted] {
        &[Emitted { name: "url", field: "listed", shape: Shape::Flag }]
    }

    fn tag(&self, document: &Document, text: &Text<'_>) -> Found {
        let url = document.metadata.get("url").and_then(|url| url.as_str()).unwrap_or_default();
        let listed = self.clean(url).iter().any(|clean| self.entries.contains(clean));
        if listed { Found::one("url", text.whole(1.0)) } else { Found::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(name: &str, lines: &str, compat: Compat) -> UrlList {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("list.txt");
        fs_err::write(&file, lines).unwrap();
        UrlList::load(name, &[&file], compat).unwrap()
    }

    fn listed(list: &UrlList, url: &str) -> bool {
        let mut document = Document::new("d", "text", "s");
        document.metadata.insert("url".into(), url.into());
        list.tag(&document, &Text::new("text")).get("url").len() == 1
    }

    #[test]
    fn addresses_are_cleaned() {
        let cases = [
            ("https://User:pw@WWW.Example.org:8080/a/../B?q=1#f", Some("www.example.org:8080/b")),
            ("example.org/", Some("example.org")),
            ("//example.org/ä b/", Some("example.org/%c3%a4%20b")),
            ("", None),
        ];
        for (url, expected) in cases {
            assert_eq!(clean(url).as_deref(), expected, "{url}");
        }
    }

    #[test]
    fn lists_of_all_formats() {
        let lines = "# comment\n0.0.0.0 ads.example.com\n10.1.2.3 box.example.net # why\nwww.bad.org\n||rule.example^\n???\n127.0.0.1 localhost\n";
        let domains = list("domain_blocklist_utp_v1", lines, Compat::None);
        assert_eq!(domains.odd, 1);
        for url in
            ["http://ads.example.com/x", "https://www.ads.example.com", "http://10.1.2.3/", "bad.org/page", "http://rule.example"]
        {
            assert!(listed(&domains, url), "{url}");
        }
        for url in ["http://example.com", "http://0.0.0.0/", "http://localhost", "http://notbad.org", ""] {
            assert!(!listed(&domains, url), "{url}");
        }
        let links = list("link_blocklist_phishing_v1", "bad.org/login\n", Compat::None);
        assert!(listed(&links, "https://bad.org/login/?next=1") && !listed(&links, "https://bad.org/"));
        let adblock = list("oisd_big_abp_v1", "[Adblock Plus]\n! c\n||ads.net^\n/banner/*\n", Compat::None);
        assert!(listed(&adblock, "http://x.ads.net/a") && !listed(&adblock, "http://bads.net") && adblock.odd == 2);
    }

    #[test]
    fn only_compat_takes_every_leading_w_off() {
        let (ours, dolma) = (|compat| list("domain_x", "wikipedia.org\n", compat), "http://ikipedia.org/");
        assert!(!listed(&ours(Compat::None), dolma) && listed(&ours(Compat::Dolma12), dolma));
        assert!(
            listed(&ours(Compat::None), "http://www.wikipedia.org/") && listed(&ours(Compat::Dolma12), "http://wikipedia.org/a")
        );
    }
}
