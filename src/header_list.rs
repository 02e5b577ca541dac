//! Header fields that are lists, such as `Accept`, `Connection`, or the tags of `If-None-Match`.

use warp::http::HeaderMap;
use warp::http::header::HeaderName;

/// The members of such a field, without the white space around them, in however many lines it was sent (RFC 9110 sections 5.3 and 5.6.1).
/// A line that is not visible ASCII has none.
pub fn members(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(str::trim)
}

#[cfg(test)]
mod tests {
    use warp::http::HeaderValue;
    use warp::http::header::ACCEPT;

    use super::*;

    #[test]
    fn a_list_goes_over_several_lines_and_what_cannot_be_read_is_left_out() {
        let lines: [&[u8]; 3] = [b"a, b;q=1 ", b"\xff, c", b"d"];
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(ACCEPT, HeaderValue::from_bytes(line).unwrap());
        }
        let members: Vec<_> = members(&headers, ACCEPT).collect();
        assert_eq!(members, ["a", "b;q=1", "d"]);
    }
}
