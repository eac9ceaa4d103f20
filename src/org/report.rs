//! A document as the JSON object that `borges blocks` prints.

use serde_json::{Map, Value as Json, json};

use super::document::{Block, Document, Keyword, Param, Value};
use super::text::{Text, broken, decode};

/// The version of Org whose answers are given.
const ORG: &str = "9.8.9";

/// What `document`, read from `source`, holds. Bytes that are no UTF-8 are shown as U+FFFD.
pub fn report(file: &str, source: &[u8], document: &Document) -> Json {
    let text = Text::new(source);
    let look_alikes = document.look_alikes.iter();
    json!({
        "file": file,
        "org": ORG,
        "crlf": text.crlf,
        "non_utf8": broken(text.bytes),
        "keywords": document.keywords.iter().map(keyword).collect::<Vec<_>>(),
        "blocks": document.blocks.iter().map(block).collect::<Vec<_>>(),
        "look_alikes": look_alikes.map(|l| json!({ "line": l.line, "in": l.within })).collect::<Vec<_>>(),
    })
}

fn keyword(keyword: &Keyword) -> Json {
    json!({ "key": keyword.key, "value": keyword.value, "line": keyword.at.line })
}

fn block(block: &Block) -> Json {
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
    }
    Json::Object(object)
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
