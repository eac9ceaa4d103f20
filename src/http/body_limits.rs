//! Reads the body of a request into memory, within limits of size, rate, and memory used by all bodies together.

use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::error::{InternalError, PayloadError};
use actix_web::http::StatusCode;
use actix_web::http::header::CONTENT_LENGTH;
use actix_web::{Error, FromRequest, HttpRequest, web};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::future::LocalBoxFuture;
use tokio::sync::{Semaphore, SemaphorePermit, TryAcquireError};
use tokio::time::timeout;

use super::response::problem;
use super::state::AppState;
use borges_clock::Clock;

/// The body of a request. It counts against [`MAX_IN_FLIGHT_KIB`] until it is dropped.
pub(super) struct RequestBody {
    pub(super) bytes: Bytes,
    _permit: Option<SemaphorePermit<'static>>,
}

/// The longest time between two chunks of a body.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// The time after which the average rate must be at least [`MIN_RATE`].
const GRACE_PERIOD: Duration = Duration::from_secs(10);
/// The slowest accepted rate, bytes per second.
const MIN_RATE: usize = 4 << 10;
/// The size of all bodies in memory together, KiB.
const MAX_IN_FLIGHT_KIB: usize = 256 << 10;

static IN_FLIGHT: Semaphore = Semaphore::const_new(MAX_IN_FLIGHT_KIB);

/// Why a body was rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BodyRejection {
    TooLarge,
    TooSlow,
    Overloaded,
    Aborted,
}

impl BodyRejection {
    fn status(self) -> StatusCode {
        match self {
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
            Self::Aborted => StatusCode::BAD_REQUEST,
        }
    }

    fn message(self, limit: usize) -> String {
        let reason = match self {
            Self::TooLarge => {
                format!(
                    "The document is longer than {limit} bytes, and no longer one is taken (`borges_max_document`)."
                )
            }
            Self::TooSlow => {
                format!("The document came too slowly: at least {MIN_RATE} bytes a second are waited for.")
            }
            Self::Overloaded => {
                "Too many documents come at the same time. Send it again in a while.".to_owned()
            }
            Self::Aborted => "The document broke off before its end.".to_owned(),
        };
        format!("{reason} No block was scheduled.")
    }
}

impl FromRequest for RequestBody {
    type Error = Error;
    type Future = LocalBoxFuture<'static, Result<Self, Error>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (request, payload) = (request.clone(), payload.take());
        Box::pin(async move {
            let app = request.app_data::<web::Data<AppState>>().cloned();
            let (limit, clock) = match &app {
                Some(app) => (app.max_document, app.clock.clone()),
                None => (0, Clock::system()),
            };
            let content_length =
                request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
            read(payload, content_length.unwrap_or(0), limit, &clock).await.map_err(|rejection| {
                let response = problem(&request, rejection.status(), &rejection.message(limit));
                InternalError::from_response(format!("{rejection:?}"), response).into()
            })
        })
    }
}

async fn read(
    mut payload: Payload,
    content_length: usize,
    limit: usize,
    clock: &Clock,
) -> Result<RequestBody, BodyRejection> {
    if content_length > limit {
        return Err(BodyRejection::TooLarge);
    }
    let started = clock.elapsed();
    let mut bytes = BytesMut::new();
    let mut permits: Option<SemaphorePermit> = None;
    loop {
        let next = timeout(IDLE_TIMEOUT, payload.next()).await.map_err(|_| BodyRejection::TooSlow)?;
        let chunk = match next {
            None => return Ok(RequestBody { bytes: bytes.freeze(), _permit: permits }),
            Some(Ok(chunk)) => chunk,
            Some(Err(PayloadError::Overflow)) => return Err(BodyRejection::TooLarge),
            Some(Err(_)) => return Err(BodyRejection::Aborted),
        };
        if bytes.len() + chunk.len() > limit {
            return Err(BodyRejection::TooLarge);
        }
        let kib = |bytes: usize| bytes.div_ceil(1 << 10);
        let more = kib(bytes.len() + chunk.len()) - kib(bytes.len());
        let more = u32::try_from(more).unwrap_or(u32::MAX);
        match IN_FLIGHT.try_acquire_many(more) {
            Ok(permit) => match &mut permits {
                None => permits = Some(permit),
                Some(held) => held.merge(permit),
            },
            Err(TryAcquireError::NoPermits | TryAcquireError::Closed) => {
                return Err(BodyRejection::Overloaded);
            }
        }
        bytes.extend_from_slice(&chunk);
        if is_too_slow(clock.elapsed().saturating_sub(started), bytes.len()) {
            return Err(BodyRejection::TooSlow);
        }
    }
}

/// Whether a body of which `bytes` arrived in `elapsed` is slower than [`MIN_RATE`].
fn is_too_slow(elapsed: Duration, bytes: usize) -> bool {
    let expected = Duration::from_secs((bytes / MIN_RATE) as u64);
    elapsed > GRACE_PERIOD + expected
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_below_the_minimum_rate_are_too_slow() {
        let second = Duration::from_secs(1);
        assert!(!is_too_slow(second * 10, 1));
        assert!(is_too_slow(second * 11, 1));
        // 16 MiB at 5 KB a second, almost an hour.
        assert!(!is_too_slow(second * 3355, 16 << 20));
        assert!(is_too_slow(second * 8000, 16 << 20));
    }
}
