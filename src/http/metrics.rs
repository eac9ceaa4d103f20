//! `/varz`, `/metrics`: counters and gauges of the server. Both are rendered from the same metric families.

use std::fmt::Write;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::query::{Query, bad_request};
use super::response::{plain_text, unavailable};
use super::state::AppState;
use borges_engine::{CALL_NAMES, Counter, EngineError, Stats};

/// The response of `/varz`.
#[derive(Debug, Serialize, ToSchema)]
struct Varz {
    version: &'static str,
    /// When the server was started.
    #[schema(value_type = String, format = DateTime)]
    started: Timestamp,
    cluster: Cluster,
    /// The families of `/metrics`: a number; with labels, an object of them.
    #[schema(value_type = Object)]
    metrics: Map<String, Value>,
}

/// The state of the connection to the cluster.
#[derive(Debug, Serialize, ToSchema)]
struct Cluster {
    /// As the setupfile names it.
    master: String,
    connected: bool,
    /// Why it is not connected.
    trouble: Option<String>,
    /// Connected, it has offered nothing for ten seconds and more, though something waits.
    no_offers: Option<String>,
    /// The framework's id, once the cluster has given it.
    framework: Option<String>,
}

/// The samples of one metric name.
#[derive(Debug)]
struct MetricFamily {
    name: &'static str,
    help: &'static str,
    metric_type: MetricType,
    labels: &'static [&'static str],
    samples: Vec<(Vec<String>, f64)>,
}

/// The type of a metric, as Prometheus defines it.
#[derive(Debug, Clone, Copy)]
enum MetricType {
    Counter,
    Gauge,
}

/// `GET /varz`.
#[utoipa::path(get, path = "/varz", tag = "server", description = "What there is and what has happened, in numbers.",
    responses((status = 200, description = "Numbers", body = Varz, content_type = "application/json")))]
pub(super) async fn varz(request: HttpRequest, app: web::Data<AppState>) -> HttpResponse {
    if let Err(message) = Query::parse(&request, &[]) {
        return bad_request(&request, &message);
    }
    match collect(&app).await {
        Ok((stats, families)) => HttpResponse::Ok().json(Varz {
            version: env!("CARGO_PKG_VERSION"),
            started: app.started,
            cluster: Cluster {
                master: app.master.clone(),
                connected: stats.disconnected.is_none(),
                trouble: stats.disconnected,
                no_offers: stats.starvation.map(|(message, _)| message),
                framework: stats.framework,
            },
            metrics: families.iter().map(|family| (family.name.to_owned(), family.json())).collect(),
        }),
        Err(error) => unavailable(&request, &error),
    }
}

/// `GET /metrics`.
#[utoipa::path(get, path = "/metrics", tag = "server", description = "The numbers of `/varz` for Prometheus.",
    responses((status = 200, description = "Numbers", body = String, content_type = "text/plain")))]
pub(super) async fn metrics(request: HttpRequest, app: web::Data<AppState>) -> HttpResponse {
    if let Err(message) = Query::parse(&request, &[]) {
        return bad_request(&request, &message);
    }
    match collect(&app).await {
        Ok((_, families)) => {
            let text = families.iter().map(MetricFamily::text).collect();
            let mut response = plain_text(StatusCode::OK, text);
            let metric_type = "text/plain; version=0.0.4; charset=utf-8";
            response.headers_mut().insert(
                actix_web::http::header::CONTENT_TYPE,
                actix_web::http::header::HeaderValue::from_static(metric_type),
            );
            response
        }
        Err(error) => unavailable(&request, &error),
    }
}

async fn collect(app: &AppState) -> Result<(Stats, Vec<MetricFamily>), EngineError> {
    let stats = app.engine.stats().await?;
    let families = families(app, &stats);
    Ok((stats, families))
}

#[expect(clippy::cast_precision_loss, reason = "nothing is counted beyond 2^53")]
fn families(app: &AppState, stats: &Stats) -> Vec<MetricFamily> {
    let single = |value: f64| vec![(Vec::new(), value)];
    let family =
        |metric_type, name, help, labels, samples| MetricFamily { name, help, metric_type, labels, samples };
    let gauge = |name, help, value| family(MetricType::Gauge, name, help, &[][..], single(value));
    let counter = |name, help, count: &Counter| {
        family(MetricType::Counter, name, help, &[], single(count.get() as f64))
    };
    let labelled = |label: String, count: usize| (vec![label], count as f64);
    let counters = app.engine.counters();
    let parser_counters = app.parser.counters();
    let version = vec![(vec![env!("CARGO_PKG_VERSION").to_owned()], 1.0)];
    let runs = stats.runs.iter().map(|(state, count)| labelled(state.to_string(), *count)).collect();
    let tasks = stats.tasks.iter().map(|(state, count)| labelled(state.to_string(), *count)).collect();
    let calls = CALL_NAMES
        .iter()
        .zip(&counters.calls)
        .map(|(call, count)| (vec![(*call).to_owned()], count.get() as f64));
    let requests = app.requests.answered().map(|(route, http_status, count)| {
        let code = if http_status == 0 { "other".to_owned() } else { http_status.to_string() };
        (vec![route.to_owned(), code], count as f64)
    });
    let offers_awaited = stats.starvation.as_ref().map_or(0.0, |(_, duration)| duration.as_secs_f64());
    let silence = stats.since_last_event.map(|silence| (Vec::new(), silence.as_secs_f64()));
    let connected = f64::from(u8::from(stats.disconnected.is_none()));
    vec![
        family(MetricType::Gauge, "borges_info", "The version, as a label.", &["version"], version),
        gauge("borges_uptime_seconds", "Since the start of the server.", stats.uptime.as_secs_f64()),
        gauge("borges_cluster_connected", "1 while subscribed to the cluster, otherwise 0.", connected),
        family(
            MetricType::Gauge,
            "borges_cluster_silence_seconds",
            "Since the cluster last said something, heartbeats included.",
            &[],
            silence.into_iter().collect(),
        ),
        family(MetricType::Gauge, "borges_runs", "Runs that are kept, by their state.", &["state"], runs),
        family(MetricType::Gauge, "borges_tasks", "Tasks of these runs, by their state.", &["state"], tasks),
        counter("borges_launches_total", "Tasks sent to the cluster.", &counters.launches),
        counter("borges_offers_received_total", "Offers that came.", &counters.offers_received),
        counter("borges_offers_declined_total", "Offers declined.", &counters.offers_declined),
        counter("borges_offers_rescinded_total", "Offers that were taken back.", &counters.offers_rescinded),
        gauge("borges_offers_held", "Offers not answered yet.", stats.offers_held as f64),
        gauge(
            "borges_offers_awaited_seconds",
            "Since the last offer, where something waits and none has come for ten seconds; otherwise 0.",
            offers_awaited,
        ),
        counter("borges_status_updates_total", "Status updates, repeats included.", &counters.status_updates),
        family(
            MetricType::Counter,
            "borges_calls_total",
            "Calls to the cluster.",
            &["call"],
            calls.collect(),
        ),
        counter("borges_connections_lost_total", "Subscriptions lost.", &counters.connections_lost),
        counter(
            "borges_supervisors_rebuilt_total",
            "Supervisors that died and were made again.",
            &counters.supervisors_rebuilt,
        ),
        counter("borges_documents_read_total", "Documents read, well or not.", &parser_counters.documents),
        counter("borges_document_bytes_read_total", "Their bytes.", &parser_counters.bytes),
        counter("borges_store_commits_total", "Commits to the store.", &counters.store_commits),
        counter("borges_store_rows_total", "Rows written by them.", &counters.store_rows),
        gauge("borges_websocket_clients", "Websockets open now.", app.requests.websockets() as f64),
        family(
            MetricType::Counter,
            "borges_http_requests_total",
            "Requests, by route and by the status of the answer.",
            &["route", "status"],
            requests.collect(),
        ),
    ]
}

impl MetricFamily {
    /// The family in the text format of Prometheus, version 0.0.4.
    fn text(&self) -> String {
        let Self { name, help, metric_type, labels, samples } = self;
        let metric_type = match metric_type {
            MetricType::Counter => "counter",
            MetricType::Gauge => "gauge",
        };
        let mut text = format!("# HELP {name} {help}\n# TYPE {name} {metric_type}\n");
        for (values, number) in samples {
            let pairs: Vec<String> = labels
                .iter()
                .zip(values)
                .map(|(label, value)| format!("{label}=\"{}\"", escape_label(value)))
                .collect();
            let pairs = if pairs.is_empty() { String::new() } else { format!("{{{}}}", pairs.join(",")) };
            let _infallible = writeln!(text, "{name}{pairs} {number}");
        }
        text
    }

    /// The family as JSON: a number, or with labels an object of numbers.
    fn json(&self) -> Value {
        let mut object = Map::new();
        for (labels, number) in &self.samples {
            match labels.as_slice() {
                [] => return json_number(*number),
                [label] => object.insert(label.clone(), json_number(*number)),
                [first, rest @ ..] => {
                    let inner = object.entry(first.clone()).or_insert_with(|| json!({}));
                    inner.as_object_mut().and_then(|inner| inner.insert(rest.join(" "), json_number(*number)))
                }
            };
        }
        if self.labels.is_empty() { Value::Null } else { Value::Object(object) }
    }
}

/// A JSON number. Integers have no fraction part.
fn json_number(number: f64) -> Value {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is whole and counts things"
    )]
    if number.fract() == 0.0 && number >= 0.0 { json!(number as u64) } else { json!(number) }
}

fn escape_label(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_render_as_text_and_json() {
        let family = MetricFamily {
            name: "x_total",
            help: "Xs.",
            metric_type: MetricType::Counter,
            labels: &["route", "status"],
            samples: vec![
                (vec!["/\"a\\\n".to_owned(), "200".to_owned()], 3.0),
                (vec!["/b".to_owned(), "404".to_owned()], 0.5),
            ],
        };
        assert_eq!(
            family.text(),
            "# HELP x_total Xs.\n# TYPE x_total counter\nx_total{route=\"/\\\"a\\\\\\n\",status=\"200\"} 3\n\
             x_total{route=\"/b\",status=\"404\"} 0.5\n"
        );
        assert_eq!(family.json(), json!({"/\"a\\\n": {"200": 3}, "/b": {"404": 0.5}}));
        let unlabelled = MetricFamily { labels: &[], samples: vec![(Vec::new(), 7.0)], ..family };
        assert_eq!((unlabelled.json(), unlabelled.text().lines().last()), (json!(7), Some("x_total 7")));
        let empty = MetricFamily { samples: Vec::new(), ..unlabelled };
        assert_eq!((empty.json(), empty.text().lines().count()), (Value::Null, 2));
    }
}
