//! A document as JSON, for `borges blocks`.

use serde_json::{Map, Value as Json, json};

use super::document::{Block, Call, Document, InlineBlock, Keyword, Param, Value};
use super::noweb::{self, BodyExpander};
use super::reference::NowebCall;
use super::text::{Text, decode, invalid_bytes};

/// The version of Org whose answers are given.
const ORG_VERSION: &str = "9.8.9";

/// What `document`, read from `source`, holds. Bytes that are no UTF-8 are shown as U+FFFD.
pub fn report(file: &str, source: &[u8], document: &Document) -> Json {
    let text = Text::new(source);
    let mut bodies = BodyExpander::new(source, document);
    let blocks = document.blocks.iter().enumerate();
    let unterminated_blocks = document.unterminated_blocks.iter();
    json!({
        "file": file,
        "org": ORG_VERSION,
        "crlf": text.crlf,
        "non_utf8": invalid_bytes(text.bytes),
        "keywords": document.keywords.iter().map(keyword).collect::<Vec<_>>(),
        "blocks": blocks.map(|(index, found)| block(found, index, &mut bodies)).collect::<Vec<_>>(),
        "calls": document.calls.iter().map(call).collect::<Vec<_>>(),
        "inline_blocks": document.inline_blocks.iter().map(inline_block).collect::<Vec<_>>(),
        "inline_calls": document.inline_calls.iter().map(call).collect::<Vec<_>>(),
        "look_alikes": unterminated_blocks.map(|l| json!({ "line": l.line, "in": l.within })).collect::<Vec<_>>(),
    })
}

fn keyword(keyword: &Keyword) -> Json {
    json!({ "key": keyword.key, "value": keyword.value, "line": keyword.at.line })
}

fn call(call: &Call) -> Json {
    json!({
        "call": call.name,
        "inside_header": call.inside_header,
        "arguments": call.arguments,
        "end_header": call.end_header,
        "line": call.at.line,
    })
}

fn inline_block(block: &InlineBlock) -> Json {
    json!({
        "language": block.language,
        "parameters": block.parameters,
        "body": block.body,
        "line": block.at.line,
    })
}

fn block(block: &Block, index: usize, bodies: &mut BodyExpander<'_>) -> Json {
    let mut object = Map::new();
    let mut put = |key: &str, value: Json| object.insert(key.into(), value);
    put("language", json!(block.language));
    put("name", json!(block.name));
    put("switches", json!(block.switches));
    put("parameters", json!(block.parameters));
    put("headers", json!(block.headers));
    put("first_line", json!(block.first_line));
    put("begin_line", json!(block.begin_line));
    put("end_line", json!(block.end_line));
    put("in", json!(block.within));
    put("commented", json!(block.commented));
    put("archived", json!(block.archived));
    put("body", json!(decode(&block.body)));
    put("params", params(&block.params));
    if let Some((at, why)) = &block.error {
        put("error", json!(format!("{}:{}: {why}", at.line, at.column)));
    } else {
        put("inherited", params(&block.inherited));
        let eval = block.params.iter().find(|param| param.key == ":eval");
        put("eval", eval.map_or(Json::Null, |param| value(&param.value)));
        let mut expanded = true;
        if noweb::expands(block) {
            let commented =
                block.params.iter().any(|param| param.key == ":comments" && param.text == "noweb");
            let expansion = match bodies.expand(index) {
                _ if commented => Err("comments noweb".to_owned()),
                Ok((body, calls)) if calls.is_empty() => Ok(body),
                Ok((_, calls)) => {
                    put("noweb_calls", calls.iter().map(noweb_call).collect());
                    Err("needs evaluation".to_owned())
                }
                Err(error) => Err(format!("{}:{}: {}", error.at.line, error.at.column, error.kind)),
            };
            expanded = expansion.is_ok();
            put("noweb_expanded", expansion.as_deref().map_or(Json::Null, |body| json!(decode(body))));
            if let Err(note) = expansion {
                put("noweb_note", json!(note));
            }
        }
        match bodies.run_body(index).ok().filter(|_| expanded) {
            Some(run) if *run.text != *block.body => put("run_body", json!(decode(&run.text))),
            Some(_) => None,
            None => put("run_body", Json::Null),
        };
    }
    Json::Object(object)
}

fn noweb_call(call: &NowebCall) -> Json {
    json!({ "call": call.name, "arguments": call.arguments, "line": call.at.line })
}

fn params(params: &[Param]) -> Json {
    params.iter().map(|param| json!([param.key, value(&param.value)])).collect()
}

fn value(value: &Value) -> Json {
    match value {
        Value::None => Json::Null,
        Value::Integer(n) => json!(n),
        // As Emacs writes what JSON cannot.
        Value::Float(x) if x.is_infinite() => json!(if *x > 0.0 { "1.0e+INF" } else { "-1.0e+INF" }),
        Value::Float(x) => json!(x),
        Value::Text(text) => json!(text),
    }
}
