//! `/openapi.json`: describes all routes, and adds common errors, links and patterns of ids.

use actix_web::{HttpRequest, HttpResponse, web};
use utoipa::openapi::link::Link;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Content, ObjectBuilder, Ref, RefOr, Response, ResponseBuilder, Type};
use utoipa::{Modify, OpenApi};

use super::query::{Query, bad_request};
use super::state::AppState;
use super::{documents, files, metrics, output, page, results, tasks, websocket};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Borges",
        description = "POST an Org document; its source blocks run as tasks on a cluster. Answers are text, or JSON \
                       for who sends `Accept: application/json`."
    ),
    paths(
        documents::submit,
        documents::runs,
        documents::run,
        documents::kill_run,
        documents::document,
        results::results,
        tasks::tasks,
        tasks::task,
        tasks::kill,
        output::stdout,
        output::stderr,
        files::root,
        files::file,
        websocket::events,
        page::index,
        page::healthz,
        metrics::varz,
        metrics::metrics,
        openapi,
    ),
    components(schemas(borges_api::Problem)),
    modifiers(&CommonResponses)
)]
struct Description;

/// Adds to each route what all routes have in common.
struct CommonResponses;

const TOKEN: &str = "The server's token; processes of its own user on its machine need none";
const COMMON_ERRORS: [(&str, &str); 5] = [
    ("400", "A parameter is wrong, or not known; the answer says what to write"),
    ("401", "The server's token is needed"),
    ("403", "A page of another server sent this, or it may not be read"),
    ("421", "The name in `Host` is none of this server's"),
    ("503", "The server cannot answer now"),
];

impl Modify for CommonResponses {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        env!("CARGO_PKG_VERSION").clone_into(&mut openapi.info.version);
        let token = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(TOKEN)).build();
        let components = openapi.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(token));
        // Processes of the server's user need no token, so an empty requirement is listed too.
        openapi.security = Some(vec![
            SecurityRequirement::default(),
            SecurityRequirement::new("token", Vec::<String>::new()),
        ]);
        for (path, item) in &mut openapi.paths.paths {
            let operations: [&mut Option<Operation>; 3] = [&mut item.get, &mut item.post, &mut item.delete];
            for operation in operations.into_iter().flatten() {
                for parameter in operation.parameters.iter_mut().flatten() {
                    let RefOr::T(parameter) = parameter else { continue };
                    if let Some(pattern) = pattern(path, &parameter.name) {
                        let text = ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern));
                        parameter.schema = Some(text.into());
                    }
                }
                if let Some(RefOr::T(response)) = operation.responses.responses.get_mut("200") {
                    response.links.extend(links(path, operation.operation_id.as_deref()));
                }
                let responses = &mut operation.responses.responses;
                for (status, description) in COMMON_ERRORS {
                    responses.entry(status.to_owned()).or_insert_with(|| error_response(description).into());
                }
                if let Some(not_found) = responses.get_mut("404") {
                    *not_found = error_response("There is no such thing").into();
                }
            }
        }
    }
}

fn error_response(description: &str) -> Response {
    let schema = Ref::from_schema_name("Problem");
    ResponseBuilder::new()
        .description(description)
        .content("application/problem+json", Content::new(Some(schema)))
        .content("text/plain", Content::new(Some(utoipa::schema!(String))))
        .build()
}

/// The operations that take a task id.
const TASK_OPERATIONS: [&str; 6] = ["task", "stdout", "stderr", "root", "file", "kill"];

/// The links from ids in a response to the operations that take them.
fn links(path: &str, operation: Option<&str>) -> Vec<(String, RefOr<Link>)> {
    let to = |operations: &[&str], parameter: &str, expression: &str| -> Vec<(String, RefOr<Link>)> {
        let link = |operation: &&str| {
            let link = Link::builder().operation_id(*operation).parameter(parameter, expression).build();
            ((*operation).to_owned(), link.into())
        };
        operations.iter().map(link).collect()
    };
    match (path, operation) {
        ("/org", Some("submit")) => to(&["run", "results", "cancel", "tasks"], "run", "$response.body#/run"),
        ("/org", _) => to(&["run", "results", "cancel"], "run", "$response.body#/runs/0/run"),
        ("/tasks", _) => to(&TASK_OPERATIONS, "task", "$response.body#/tasks/0/task"),
        _ => Vec::new(),
    }
}

/// The pattern of an id in a parameter. `None` for other parameters.
fn pattern(path: &str, parameter: &str) -> Option<&'static str> {
    const RUN: &str = "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$";
    const TASK: &str = r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.[1-9][0-9]{0,8}$";
    match (path, parameter) {
        (_, "run") | ("/org", "after") => Some(RUN),
        (_, "task") | ("/tasks", "after") => Some(TASK),
        _ => None,
    }
}

/// The description as JSON.
pub(super) fn description() -> String {
    Description::openapi().to_json().unwrap_or_default()
}

#[utoipa::path(get, path = "/openapi.json", tag = "server", description = "This description.",
    responses((status = 200, description = "This description", content_type = "application/json", body = Object)))]
pub(super) async fn openapi(request: HttpRequest, app: web::Data<AppState>) -> HttpResponse {
    match Query::parse(&request, &[]) {
        Ok(_) => HttpResponse::Ok().content_type("application/json").body(app.description.clone()),
        Err(message) => bad_request(&request, &message),
    }
}
