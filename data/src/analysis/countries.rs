//! Countries of hosts from a table that the user gives; this program brings none and asks no network.
//! Knows addresses, no documents.

use crate::error::DataError;
use std::net::IpAddr;
use std::path::Path;

/// Ranges of IP addresses and suffixes of hosts, each with a country.
#[derive(Debug, Default)]
pub(crate) struct Countries {
    /// First and last address of a range, as numbers of version 6, and the country; sorted.
    ranges: Vec<(u128, u128, String)>,
    /// Hosts and ends of hosts.
    hosts: std::collections::HashMap<String, String>,
}

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u128::from(ip.to_ipv6_mapped()),
        IpAddr::V6(ip) => u128::from(ip),
    }
}

impl Countries {
    /// Reads lines `first,last,country` (IP addresses), `network/bits,country` or `host,country`, where a host also stands for the
    /// hosts below it. Blank lines and those that begin with `#` are skipped.
    pub(crate) fn read(path: &Path) -> Result<Countries, DataError> {
        let text = fs_err::read_to_string(path)?;
        let mut countries = Countries::default();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let fields: Vec<&str> = line.split(',').map(|field| field.trim().trim_matches('"')).collect();
            let wrong = |message: &str| DataError::Line {
                path: path.to_path_buf(),
                line: index as u64 + 1,
                message: format!("{message}; write `first,last,country`, `network/bits,country` or `host,country`"),
            };
            match fields.as_slice() {
                [first, last, country] => {
                    let ip =
                        |text: &str| text.parse::<IpAddr>().map(number).map_err(|_| wrong(&format!("`{text}` is no IP address")));
                    countries.ranges.push((ip(first)?, ip(last)?, (*country).to_owned()));
                }
                [network, country] => match network.split_once('/') {
                    Some((ip, bits)) => {
                        let ip = ip.parse::<IpAddr>().map_err(|_| wrong(&format!("`{ip}` is no IP address")))?;
                        let bits = bits.parse::<u32>().ok().filter(|&bits| bits <= if ip.is_ipv4() { 32 } else { 128 });
                        let bits = bits.ok_or_else(|| wrong("the number of bits is wrong"))? + if ip.is_ipv4() { 96 } else { 0 };
                        let mask = u128::MAX.checked_shr(bits).unwrap_or(0);
                        countries.ranges.push((number(ip) & !mask, number(ip) | mask, (*country).to_owned()));
                    }
                    None => drop(countries.hosts.insert(network.to_lowercase(), (*country).to_owned())),
                },
                _ => return Err(wrong("there are neither two nor three fields")),
            }
        }
        countries.ranges.sort();
        Ok(countries)
    }

    /// The country of an address, else of a host or the nearest host above it.
    pub(crate) fn of(&self, ip: Option<IpAddr>, host: &str) -> Option<&str> {
        if let Some(ip) = ip.map(number) {
            // The range that begins last among those that begin at or before the address.
            let at = self.ranges.partition_point(|range| range.0 <= ip);
            let range = at.checked_sub(1).map(|at| &self.ranges[at]).filter(|range| ip <= range.1);
            if let Some((_, _, country)) = range {
                return Some(country);
            }
        }
        let mut rest = Some(host);
        while let Some(host) = rest {
            if let Some(country) = self.hosts.get(host) {
                return Some(country);
            }
            rest = host.split_once('.').map(|(_, above)| above);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_networks_and_hosts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.csv");
        std::fs::write(&path, "# c\n1.0.0.0,1.0.0.255,AU\n10.2.0.0/16,XX\n2001:db8::/32,YY\nde,DE\nexample.org,US\n").unwrap();
        let countries = Countries::read(&path).unwrap();
        let of = |ip: &str| countries.of(Some(ip.parse().unwrap()), "");
        assert_eq!(
            [of("1.0.0.7"), of("1.0.1.0"), of("10.2.255.255"), of("2001:db8:1::")],
            [Some("AU"), None, Some("XX"), Some("YY")]
        );
        assert_eq!(
            [countries.of(None, "www.example.org"), countries.of(None, "a.de"), countries.of(None, "org")],
            [Some("US"), Some("DE"), None]
        );
        std::fs::write(&path, "a,b,c\n").unwrap();
        assert!(Countries::read(&path).unwrap_err().to_string().contains("c.csv:1: `a` is no IP address"));
    }
}
