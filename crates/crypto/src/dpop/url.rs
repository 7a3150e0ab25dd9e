//! Comparing the URL of a proof with the URL of a request (RFC 9449, section 4.3, item 9): without query and fragment,
//! after the normalisation of RFC 3986, sections 6.2.2 and 6.2.3, that two honest writers may differ by.

/// Whether both are the same `http` or `https` URL up to query and fragment.
pub(super) fn same(left: &str, right: &str) -> bool {
    left == right && normal(left).is_some()
        || matches!((normal(left), normal(right)), (Some(left), Some(right)) if left == right)
}

/// Scheme and host in small letters, without a default port, query or fragment; percent-encoding only where it is
/// needed and in capitals. `None` for anything that isn't an `http` or `https` URL, or that has a user in it.
pub(super) fn normal(url: &str) -> Option<String> {
    if !url.bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    let (scheme, rest) = url.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    let default_port = match scheme.as_str() {
        "https" => ":443",
        "http" => ":80",
        _ => return None,
    };
    let rest = rest.split(['?', '#']).next()?;
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, "/"),
    };
    let authority = authority.to_ascii_lowercase();
    let host = authority.strip_suffix(default_port).or(authority.strip_suffix(':')).unwrap_or(&authority);
    if host.is_empty() || host.contains(['@', '\\', '%']) {
        return None;
    }
    Some(format!("{scheme}://{host}{}", decoded(path)?))
}

/// A path with `%xx` written out where that changes no meaning, and in capitals elsewhere.
fn decoded(path: &str) -> Option<String> {
    let mut out = String::with_capacity(path.len());
    let mut chunks = path.split('%');
    out.push_str(chunks.next()?);
    for chunk in chunks {
        let (hex, rest) = (chunk.get(..2)?, chunk.get(2..)?);
        // `from_str_radix` also reads a sign.
        let byte = u8::from_str_radix(hex, 16).ok().filter(|_| hex.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push_str(&hex.to_ascii_uppercase());
        }
        out.push_str(rest);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_honest_writers_differ_by_is_the_same() {
        let url = "https://data.example/rest/orders";
        for other in [
            "https://data.example/rest/orders?limit=5&order=x",
            "https://data.example/rest/orders#top",
            "HTTPS://Data.Example:443/rest/orders",
            "https://data.example/%72est/orders",
            "https://data.example/rest/%6frders?%",
        ] {
            assert!(same(url, other) && same(other, url), "{other}");
        }
        assert!(same("http://127.0.0.1:8080", "http://127.0.0.1:8080/"));
        assert!(same("https://a/x%2fy", "https://a/x%2Fy"));
        assert!(same("https://[::1]:443/", "https://[::1]/"));
    }

    #[test]
    fn what_is_another_place_is_not_the_same() {
        let url = "https://data.example/rest/orders";
        for other in [
            "http://data.example/rest/orders",
            "https://data.example:8443/rest/orders",
            "https://data.example:80/rest/orders",
            "https://data.example.evil.example/rest/orders",
            "https://data.example/rest/Orders",
            "https://data.example/rest/orders/",
            "https://data.example/rest/../rest/orders",
            "https://data.example/rest%2Forders",
            "https://user@data.example/rest/orders",
            "https://data.example\\@evil/rest/orders",
            "https://data.example/rest/orders%",
            "https://data.example/rest/orders%+1",
            "https://data.example/rest/orders%e",
            "https:/data.example/rest/orders",
            "/rest/orders",
            "",
            "https://",
            "https:///rest/orders",
            "https://data.example/rest/orders ",
            "https://data.example/rest/orders\n",
            "https://dåta.example/rest/orders",
        ] {
            assert!(!same(url, other) && !same(other, url), "{other}");
        }
        for no_url in ["", "x", "ftp://a/", "https://a b/"] {
            assert!(!same(no_url, no_url), "{no_url}");
        }
    }
}
