//! Where documents come from, by the addresses in their metadata: hosts, schemes, public suffixes, file extensions, countries.
//! Knows one address at a time; asks no network.

use super::countries::Countries;
use super::records::Record;
use super::table::{Plot, Table};
use super::tally::{Names, Tally};
use crate::error::DataError;
use std::sync::Arc;

/// The parts of an address that are counted.
#[derive(Debug, PartialEq, Eq)]
struct Address<'a> {
    scheme: &'a str,
    /// Host with port and user, as Python's `netloc`.
    netloc: &'a str,
    host: &'a str,
    extension: Option<&'a str>,
}

impl<'a> Address<'a> {
    fn of(url: &'a str) -> Option<Address<'a>> {
        let (scheme, rest) = url.trim().split_once("://")?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (netloc, path) = rest.split_at(end);
        let host = netloc.rsplit_once('@').map_or(netloc, |(_, host)| host);
        let host = match host.strip_prefix('[') {
            Some(six) => six.split_once(']').map_or(six, |(six, _)| six),
            None => host.split_once(':').map_or(host, |(host, _)| host),
        };
        let name = path.split(['?', '#']).next().unwrap_or_default().rsplit('/').next().unwrap_or_default();
        let extension = name.rsplit_once('.').filter(|(stem, ending)| {
            !stem.is_empty() && (1..=8).contains(&ending.len()) && ending.bytes().all(|byte| byte.is_ascii_alphanumeric())
        });
        Some(Address { scheme, netloc, host, extension: extension.map(|(_, ending)| ending) })
    }
}

/// Which tables are wanted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SiteTables {
    pub(crate) domains: bool,
    pub(crate) schemes: bool,
    pub(crate) suffixes: bool,
    pub(crate) extensions: bool,
    pub(crate) geolocation: bool,
}

/// `domains`, `schemes`, `suffixes`, `extensions` and `geolocation`.
pub(crate) struct Sites {
    field: Arc<str>,
    wanted: SiteTables,
    countries: Option<Arc<Countries>>,
    domains: Names,
    schemes: Names,
    suffixes: Names,
    extensions: Names,
    places: Names,
    missing: u64,
}

impl Sites {
    /// Addresses are in the metadata under `field`.
    pub(crate) fn new(field: &str, wanted: SiteTables, countries: Option<Arc<Countries>>) -> Sites {
        let names = Names::default;
        Sites {
            field: field.into(),
            wanted,
            countries,
            domains: names(),
            schemes: names(),
            suffixes: names(),
            extensions: names(),
            places: names(),
            missing: 0,
        }
    }
}

/// The last labels of a host under which anybody can register names (`co.uk`), by the Public Suffix List.
fn suffix(host: &str) -> Option<&str> {
    if host.parse::<std::net::IpAddr>().is_ok() {
        return None;
    }
    psl::suffix(host.as_bytes()).filter(psl::Suffix::is_known).and_then(|suffix| std::str::from_utf8(suffix.as_bytes()).ok())
}

impl Tally for Sites {
    fn fresh(&self) -> Self {
        Sites::new(&self.field, self.wanted, self.countries.clone())
    }

    fn add(&mut self, record: &Record<'_>, words: u64) {
        let url = record.document.metadata.get(&*self.field).and_then(|value| value.as_str());
        let Some(address) = url.and_then(Address::of) else {
            self.missing += 1;
            return;
        };
        if self.wanted.domains {
            self.domains.add(&address.netloc.to_lowercase(), words);
        }
        if self.wanted.schemes {
            self.schemes.add(&address.scheme.to_lowercase(), words);
        }
        let host = address.host.to_lowercase();
        if self.wanted.suffixes {
            self.suffixes.add(suffix(&host).unwrap_or("(none)"), words);
        }
        if self.wanted.extensions {
            self.extensions.add(&address.extension.unwrap_or("(none)").to_lowercase(), words);
        }
        if let Some(countries) = &self.countries {
            let ip = host.parse().ok().or_else(|| record.document.metadata.get("ip").and_then(|ip| ip.as_str()?.parse().ok()));
            self.places.add(countries.of(ip, &host).unwrap_or("(unknown)"), words);
        }
    }

    fn merge(&mut self, later: Self) -> Result<(), DataError> {
        self.domains.merge(later.domains);
        self.schemes.merge(later.schemes);
        self.suffixes.merge(later.suffixes);
        self.extensions.merge(later.extensions);
        self.places.merge(later.places);
        self.missing += later.missing;
        Ok(())
    }

    fn tables(self, rows: usize) -> Result<Vec<Table>, DataError> {
        let mut tables = Vec::new();
        let without = format!("{} documents have no address under metadata.{}.", self.missing, self.field);
        let mut add = |name: &str, title: &str, column: &str, names: &Names, by_words: bool| {
            let found = if by_words { names.by_words(rows) } else { names.by_documents(rows) };
            let found = found.into_iter().map(|(name, documents, words)| vec![name.into(), documents.into(), words.into()]);
            let note = format!("{} distinct. {without}", names.len());
            let value = if by_words { 2 } else { 1 };
            let table = Table::new(name, title, &[column, "count", "tokens"]).note(note).rows(found);
            tables.push(table.plot(Plot::Bars { label: 0, value }));
        };
        if self.wanted.domains {
            add("domains", "Domains by documents", "url", &self.domains, false);
            add("domains_by_tokens", "Domains by tokens", "url", &self.domains, true);
        }
        if self.wanted.schemes {
            add("schemes", "Schemes of addresses", "scheme", &self.schemes, false);
        }
        if self.wanted.suffixes {
            add("suffixes", "Public suffixes of domains", "high_level_domain", &self.suffixes, false);
        }
        if self.wanted.extensions {
            add("extensions", "File extensions of addresses", "extension", &self.extensions, false);
        }
        if self.wanted.geolocation {
            add("geolocation", "Countries of hosts", "country", &self.places, false);
        }
        Ok(tables)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_addresses() {
        let address = Address::of("https://me@www.Example.co.uk:8080/a/b.tar.gz?x=1.y#z").unwrap();
        assert_eq!((address.scheme, address.netloc, address.host), ("https", "me@www.Example.co.uk:8080", "www.Example.co.uk"));
        assert_eq!(address.extension, Some("gz"));
        assert_eq!(Address::of("http://[::1]:80").unwrap().host, "::1");
        assert_eq!(Address::of("http://a.b?c.d").unwrap().extension, None);
        assert_eq!(Address::of("no address"), None);
        assert_eq!((suffix("www.example.co.uk"), suffix("127.0.0.1"), suffix("host.invalidtld")), (Some("co.uk"), None, None));
    }
}
