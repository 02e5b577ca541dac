//! Request bodies: read under a limit and a deadline.

use std::pin::Pin;
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures_util::{Stream, StreamExt};
use warp::Filter;
use warp::http::HeaderMap;
use warp::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use warp::reject::Rejection;

use super::fields::JsonBody;
use crate::config::Config;
use crate::error::Error;
use crate::header_list;
use crate::limits::{Holder, MemoryBudget, Reservation, SMALL};

/// Bounds of one request's body.
#[derive(Clone, Copy, Debug)]
pub struct BodyLimits {
    /// `MAX_BODY_BYTES`.
    pub bytes: usize,
    /// `BODY_TIMEOUT_SECONDS`: from the request's head to the end of its body.
    pub time: Duration,
}

impl From<&Config> for BodyLimits {
    fn from(config: &Config) -> Self {
        Self {
            bytes: config.limits.body_bytes,
            time: config.timeouts.body,
        }
    }
}

type Chunks = Pin<Box<dyn Stream<Item = Result<Bytes, warp::Error>> + Send>>;

/// A body that is not read yet, so that a handler can refuse the caller first. The server throws an unread body away.
pub struct Body {
    headers: HeaderMap,
    chunks: Chunks,
    limits: BodyLimits,
    budget: MemoryBudget,
}

/// `budget` is for large bodies, from when they begin until they are dropped.
pub fn body(
    limits: BodyLimits,
    budget: MemoryBudget,
) -> impl Filter<Extract = (Body,), Error = Rejection> + Clone + Send + Sync + 'static {
    warp::header::headers_cloned()
        .and(warp::body::stream())
        .map(move |headers, chunks| Body {
            headers,
            chunks: boxed(chunks),
            limits,
            budget: budget.clone(),
        })
}

fn boxed<B: Buf>(chunks: impl Stream<Item = Result<B, warp::Error>> + Send + 'static) -> Chunks {
    Box::pin(chunks.map(|chunk| chunk.map(|mut data| data.copy_to_bytes(data.remaining()))))
}

impl Body {
    /// Reads the body, which is to be JSON, in `holder`'s share of the budget for large ones: 415, 413, 408 or 503 if it can't be.
    pub async fn json(self, holder: Holder) -> Result<JsonBody, Error> {
        if !is_json(&self.headers) || is_compressed(&self.headers) {
            return Err(Error::UnsupportedMediaType);
        }
        let (bytes, reservation) = self.collect(holder).await?;
        Ok(JsonBody::new(bytes, reservation))
    }

    async fn collect(mut self, holder: Holder) -> Result<(Vec<u8>, Reservation), Error> {
        let limit = self.limits.bytes;
        let announced = self
            .headers
            .get(CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if announced.is_some_and(|length| length > limit as u64) {
            return Err(Error::PayloadTooLarge { limit });
        }
        let time = self.limits.time;
        match tokio::time::timeout(time, self.read(holder, announced)).await {
            Ok(result) => result,
            Err(_) => Err(Error::RequestTimeout),
        }
    }

    async fn read(
        &mut self,
        holder: Holder,
        announced: Option<u64>,
    ) -> Result<(Vec<u8>, Reservation), Error> {
        let limit = self.limits.bytes;
        let (mut body, mut reservation) = (Vec::new(), Reservation::default());
        while let Some(chunk) = self.chunks.next().await {
            let chunk = chunk
                .map_err(|cause| Error::invalid(format!("the body could not be read: {cause}")))?;
            let size = body.len() + chunk.len();
            if size > limit {
                return Err(Error::PayloadTooLarge { limit });
            }
            if size > SMALL && body.len() <= SMALL {
                // One that announces nothing may become the largest.
                let size = announced.map_or(limit, |length| length as usize);
                reservation = self
                    .budget
                    .reserve(holder, size)
                    .ok_or_else(|| Error::unavailable("too many large bodies are arriving"))?;
            }
            body.extend_from_slice(&chunk);
        }
        Ok((body, reservation))
    }
}

/// Parameters such as `charset` don't matter: JSON is UTF-8 (RFC 8259, section 8.1), and that is checked.
fn is_json(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}

/// Whether it is compressed (RFC 9110, section 8.4). Other values, such as `utf-8`, are a common mistake and do no harm.
fn is_compressed(headers: &HeaderMap) -> bool {
    const CODINGS: [&str; 7] = [
        "gzip",
        "x-gzip",
        "deflate",
        "br",
        "zstd",
        "compress",
        "x-compress",
    ];
    header_list::members(headers, CONTENT_ENCODING).any(|coding| {
        CODINGS
            .iter()
            .any(|known| coding.eq_ignore_ascii_case(known))
    })
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    impl Body {
        /// Reads it, and that it is an object.
        async fn object(self) -> Result<JsonBody, Error> {
            let body = self.json(Holder::Anybody).await?;
            body.fields(&[])?;
            Ok(body)
        }
    }

    fn request(headers: &[(&'static str, &str)], chunks: Chunks) -> Body {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect();
        Body {
            headers,
            chunks,
            limits: BodyLimits {
                bytes: 16,
                time: Duration::from_millis(50),
            },
            budget: MemoryBudget::new(0),
        }
    }

    fn chunks(parts: &[&'static str]) -> Chunks {
        let parts: Vec<_> = parts.iter().map(|part| Ok(Bytes::from(*part))).collect();
        Box::pin(stream::iter(parts))
    }

    const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

    #[tokio::test]
    async fn only_json_is_read() {
        for accepted in ["application/json", "Application/JSON ; charset=utf-8"] {
            let body = request(&[("content-type", accepted)], chunks(&["{}"]));
            assert!(body.object().await.is_ok(), "{accepted}");
        }
        for refused in [
            "text/plain",
            "application/jsonp",
            "",
            "application/x-www-form-urlencoded",
        ] {
            let body = request(&[("content-type", refused)], chunks(&["{}"]));
            assert!(
                matches!(body.object().await, Err(Error::UnsupportedMediaType)),
                "{refused}"
            );
        }
        for (coding, is_read) in [
            ("identity", true),
            ("utf-8", true),
            ("GZIP", false),
            ("identity, br", false),
        ] {
            let body = request(&[JSON[0], ("content-encoding", coding)], chunks(&["{}"]));
            let read = body.object().await;
            assert_eq!(read.is_ok(), is_read, "{coding}");
            assert!(is_read || matches!(read, Err(Error::UnsupportedMediaType)));
        }
        let untyped = request(&[], chunks(&["{}"]));
        assert!(matches!(
            untyped.object().await,
            Err(Error::UnsupportedMediaType)
        ));
    }

    #[tokio::test]
    async fn the_limit_holds_for_announced_and_for_chunked_bodies() {
        let announced = [JSON[0], ("content-length", "17")];
        let body = request(&announced, chunks(&["{}"]));
        assert!(matches!(
            body.object().await,
            Err(Error::PayloadTooLarge { limit: 16 })
        ));
        let body = request(JSON, chunks(&["{         ", "         }"]));
        assert!(matches!(
            body.object().await,
            Err(Error::PayloadTooLarge { limit: 16 })
        ));
        let body = request(JSON, chunks(&["{       ", "       }"]));
        assert!(body.object().await.is_ok());
    }

    #[tokio::test]
    async fn a_body_that_never_ends_times_out() {
        let endless = Box::pin(chunks(&["{"]).chain(stream::pending()));
        let body = request(JSON, endless);
        let read = body.object();
        let read = tokio::time::timeout(Duration::from_secs(10), read).await;
        assert!(matches!(read, Ok(Err(Error::RequestTimeout))));
    }

    #[tokio::test]
    async fn large_bodies_share_a_budget_until_they_are_dropped_and_small_ones_are_free() {
        // A share is one of them.
        let budget = MemoryBudget::new(8 * 2 * SMALL);
        let ask = |announces: bool, size: usize| {
            let length = size.to_string();
            let announced = [JSON[0], ("content-length", length.as_str())];
            let headers = if announces { &announced[..] } else { JSON };
            let text = format!("{{{}}}", " ".repeat(size - 2));
            let parts: Vec<_> = text
                .as_bytes()
                .chunks(4096)
                .map(Bytes::copy_from_slice)
                .collect();
            let chunks = Box::pin(stream::iter(parts.into_iter().map(Ok)));
            let mut body = request(headers, chunks);
            body.limits.bytes = 2 * SMALL;
            body.budget = budget.clone();
            body.object()
        };
        for announces in [true, false] {
            let first = ask(announces, SMALL + 1).await.expect("their share");
            let second = ask(announces, SMALL + 1).await;
            assert_eq!(second.is_ok(), announces, "it may become the largest");
            drop(second);
            let largest = ask(announces, 2 * SMALL).await;
            assert!(matches!(largest, Err(Error::Unavailable { .. })));
            assert!(ask(announces, SMALL).await.is_ok());
            drop(first);
            assert!(ask(announces, 2 * SMALL).await.is_ok());
        }
    }
}
