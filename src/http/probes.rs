//! `/health`, the two probes and `/metrics`. None of them needs a token.

use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::http::header::{CONTENT_TYPE, RETRY_AFTER};
use warp::http::{HeaderValue, StatusCode};
use warp::reply::Response;

use super::call::{Call, call};
use super::methods::get;
use super::{any_of, route};
use crate::error::Error;
use crate::health::Report;
use crate::metrics::TextFormat;
use crate::reply::json_response;
use crate::services::Services;

pub fn routes(services: &Arc<Services>) -> BoxedFilter<(Response,)> {
    let ready = route(
        warp::path!("health" / "ready")
            .and(get())
            .and(call(services))
            .then(ready),
    );
    any_of([ready, without_room(services)])
}

/// Those that are answered on a connection over the limit, too.
pub fn without_room(services: &Arc<Services>) -> BoxedFilter<(Response,)> {
    any_of([
        route(
            warp::path!("health")
                .and(get())
                .and(call(services))
                .then(health),
        ),
        route(warp::path!("health" / "live").and(get()).map(live)),
        route(
            warp::path!("metrics")
                .and(get())
                .and(call(services))
                .then(metrics),
        ),
    ])
}

/// The state of a replica.
#[derive(Serialize, ToSchema)]
#[schema(as = Health)]
pub(super) struct Answer<'a> {
    /// `ok` or `unavailable`.
    status: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    checks: Option<Checks>,
}

/// `ok` or `unavailable`; why goes to the log, since anybody may ask and the reason can name hosts, tables and roles.
#[derive(Serialize, ToSchema)]
struct Checks {
    database: &'static str,
    listener: &'static str,
    /// `unavailable` when users cannot be read any more: the host's table does not fit `USERS_TABLE` and `USERS_COLUMNS`, or a policy fails. Absent while they can.
    #[serde(skip_serializing_if = "Option::is_none")]
    users: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    draining: Option<bool>,
}

/// 200 when the database answers, the listener is live and the users table fits, draining or not.
#[utoipa::path(
    get, path = "/health", tag = "operation", operation_id = "health",
    responses(
        (status = 200, description = "healthy", body = Answer, example = json!({"status": "ok", "service": "pgchat"})),
        (status = 503, description = "what is wrong", body = Answer, example = json!({
            "status": "unavailable", "service": "pgchat", "checks": {"database": "ok", "listener": "unavailable"}
        })),
    ),
    security(()),
)]
pub(super) async fn health(call: Call) -> Response {
    let report = call.services.health.report().await;
    let checks = checks(&report);
    answer(
        report.is_well(),
        Some(&call.services.config.service_name),
        checks,
    )
}

/// 200 while the process runs, whatever the database does: for an orchestrator that restarts a process that fails it.
#[utoipa::path(
    get, path = "/health/live", tag = "operation", operation_id = "live",
    responses((status = 200, description = "the process runs", body = Answer, example = json!({"status": "ok"}))),
    security(()),
)]
pub(super) fn live() -> Response {
    answer(true, None, None)
}

/// 200 when this replica can take traffic: not draining, the database answers, the listener is live and the users table fits.
#[utoipa::path(
    get, path = "/health/ready", tag = "operation", operation_id = "ready",
    responses(
        (status = 200, description = "takes traffic", body = Answer, example = json!({"status": "ok"})),
        (status = 503, description = "takes no traffic", body = Answer, example = json!({
            "status": "unavailable", "checks": {"database": "ok", "listener": "ok", "draining": true}
        })),
    ),
    security(()),
)]
pub(super) async fn ready(call: Call) -> Response {
    let report = call.services.health.report().await;
    let ok = report.is_well() && !report.draining;
    let mut checks = checks(&report);
    checks.draining = Some(report.draining);
    answer(ok, None, checks)
}

/// Metrics for Prometheus: as OpenMetrics if `Accept` names it, else in the older text format.
#[utoipa::path(
    get, path = "/metrics", tag = "operation", operation_id = "metrics",
    responses((status = 200, description = "the metrics", content(
        (String = "text/plain"), (String = "application/openmetrics-text"),
    )), (status = 500)),
    security(()),
)]
pub(super) async fn metrics(call: Call) -> Result<Response, Error> {
    const OPEN_METRICS: &str = "application/openmetrics-text";
    let (format, content_type) = match call.accepts_by_name(OPEN_METRICS) {
        true => (
            TextFormat::OpenMetrics,
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        ),
        false => (
            TextFormat::Older,
            "text/plain; version=0.0.4; charset=utf-8",
        ),
    };
    let text = call.services.metrics.render(format).await?;
    let mut response = Response::new(text.into());
    let content_type = HeaderValue::from_static(content_type);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    Ok(response)
}

fn checks(report: &Report) -> Checks {
    let word = |check: &Result<(), String>| match check {
        Ok(()) => "ok",
        Err(_) => "unavailable",
    };
    Checks {
        database: word(&report.database),
        listener: word(&report.listener),
        users: report.users.is_err().then_some("unavailable"),
        draining: None,
    }
}

fn answer(ok: bool, service: Option<&str>, checks: impl Into<Option<Checks>>) -> Response {
    let (status, word) = match ok {
        true => (StatusCode::OK, "ok"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
    };
    let mut response = json_response(
        status,
        &Answer {
            status: word,
            service,
            // A healthy answer is compared literally by clients of the service before this one.
            checks: checks.into().filter(|_| !ok),
        },
    );
    if !ok {
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}
