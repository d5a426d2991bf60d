//! Addresses: whose they are, and where a redirect leads. Sends nothing.

use ureq::http::Uri;

/// A branch's slash is part of its name in a URL.
pub(super) fn escaped(revision: &str) -> String {
    revision.replace('/', "%2F")
}

/// A redirect's `Location` read against the address that gave it.
pub(super) fn joined(base: &str, location: &str) -> Option<String> {
    if location.starts_with("http://") || location.starts_with("https://") {
        return Some(location.to_owned());
    }
    let uri: Uri = base.parse().ok()?;
    let (scheme, authority) = (uri.scheme_str()?, uri.authority()?);
    if let Some(rest) = location.strip_prefix("//") {
        return Some(format!("{scheme}://{rest}"));
    }
    if location.starts_with('/') {
        return Some(format!("{scheme}://{authority}{location}"));
    }
    let folder = uri.path().rsplit_once('/').map_or("", |(folder, _)| folder);
    Some(format!("{scheme}://{authority}{folder}/{location}"))
}

/// Scheme, host and port: who a token may be shown to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    scheme: String,
    pub host: String,
    port: u16,
}

impl Origin {
    pub(super) fn of(url: &str) -> Option<Self> {
        let uri: Uri = url.parse().ok()?;
        let scheme = uri.scheme_str()?.to_ascii_lowercase();
        let default = match scheme.as_str() {
            "https" => 443,
            "http" => 80,
            _ => return None,
        };
        Some(Self { host: uri.host()?.to_ascii_lowercase(), port: uri.port_u16().unwrap_or(default), scheme })
    }

    /// A hub on this machine (a mirror, a test) is never behind a proxy.
    pub(super) fn is_loopback(&self) -> bool {
        let address = self.host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
        self.host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_are_read_against_their_page() {
        let base = "https://hub.example:8443/org/name/resolve/main/a?x=1";
        let lead = |location: &str| joined(base, location).unwrap();
        assert_eq!(lead("https://cdn.example/a"), "https://cdn.example/a");
        assert_eq!(lead("//cdn.example/a"), "https://cdn.example/a");
        assert_eq!(lead("/b/c?d"), "https://hub.example:8443/b/c?d");
        assert_eq!(lead("b"), "https://hub.example:8443/org/name/resolve/main/b");
        assert_eq!(joined("no address", "/b"), None);
    }

    #[test]
    fn another_scheme_host_or_port_is_another_origin() {
        let same = |a: &str, b: &str| Origin::of(a) == Origin::of(b);
        assert!(same("https://hub.example/a", "https://HUB.example:443/b"));
        assert!(!same("https://hub.example/", "http://hub.example/"));
        assert!(!same("https://hub.example/", "https://cdn.hub.example/"));
        assert!(!same("https://hub.example/", "https://hub.example:8443/"));
        assert!(!same("https://hub.example/", "https://hub.example@other.example/"));
        assert!(Origin::of("ftp://hub.example/").is_none() && Origin::of("hub.example").is_none());
        assert!(Origin::of("http://[::1]:80/").unwrap().is_loopback());
    }
}
