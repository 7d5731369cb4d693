//! The address that clients know the appliance by, for the URLs in answers.

use crate::config::ApiConfig;
use http::{HeaderMap, Uri, header};

/// What a host name or an address with its port is made of. Anything else in a `Host` header is not repeated.
fn is_authority(text: &str) -> bool {
    let known = |b: u8| b.is_ascii_alphanumeric() || b".-:[]".contains(&b);
    !text.is_empty() && text.len() <= 255 && text.bytes().all(known)
}

/// The beginning of every URL, without a slash at its end: as configured, or as the client named us; empty, which makes
/// URLs relative, when it named us in no way.
pub(crate) fn origin(config: &ApiConfig, headers: &HeaderMap, uri: &Uri) -> String {
    if let Some(url) = &config.public_url {
        return url.trim_end_matches('/').to_owned();
    }
    let host = headers.get(header::HOST).and_then(|h| h.to_str().ok());
    let authority = host.or_else(|| uri.authority().map(http::uri::Authority::as_str));
    authority
        .filter(|a| is_authority(a))
        .map(|a| format!("https://{a}"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_a_host_is_repeated() {
        let config = ApiConfig::new("unused");
        for (host, expected) in [
            ("pacs.example:8443", "https://pacs.example:8443"),
            ("[::1]:8443", "https://[::1]:8443"),
            ("evil/\"><script>", ""),
            ("", ""),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().expect("a header"));
            assert_eq!(origin(&config, &headers, &Uri::from_static("/x")), expected);
        }
        let public_url = Some("https://ai.example-hospital/".to_owned());
        let config = ApiConfig {
            public_url,
            ..config
        };
        let known = origin(&config, &HeaderMap::new(), &Uri::from_static("/x"));
        assert_eq!(known, "https://ai.example-hospital");
    }
}
