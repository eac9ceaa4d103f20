//! R.

use crate::colnames;
use crate::generic;
use crate::import::{self, Separator};
use crate::invocation::{Execution, Expansion, Invocation};
use crate::print::quote;
use crate::value::Value;

pub(crate) fn compose(expansion: &Expansion) -> Invocation {
    let results = expansion.arguments.results();
    let mut code = expanded_code(expansion);
    let image_file = expansion.arguments.text(":file").filter(|_| results.has("graphics"));
    if let Some(file) = image_file {
        code = with_graphics_device(expansion, &file, &code);
    }
    if results.is_value() && !results.has("graphics") {
        let (columns, rows) = has_names(expansion);
        let row_names = if rows { "TRUE" } else { "FALSE" };
        let column_names = match (columns, rows) {
            (false, _) => "FALSE",
            (true, true) => "NA",
            (true, false) => "TRUE",
        };
        code = format!(
            "(function(value, path) {{\n  value\n  invisible(tryCatch(\n    \
             write.table(value, file = path, sep = \"\\t\", na = \"\", row.names = {row_names}, \
             col.names = {column_names}, quote = FALSE),\n    error = function(e) file.create(path)))\n}})(\
             value = (function() {{\n{code}\n}})(), path = file.path(Sys.getenv(\"MESOS_SANDBOX\"), \"block/value\"))\n"
        );
    } else {
        code.push('\n');
    }
    let (program, mut arguments) = expansion.command(":R-command");
    arguments.push("-f".to_owned());
    Invocation::script(program, arguments, &code)
}

pub(crate) fn collect(expansion: &Expansion, execution: &Execution) -> Value {
    let results = expansion.arguments.results();
    if results.has("graphics") {
        return Value::Nil;
    }
    if !results.is_value() {
        return Value::text(execution.printed());
    }
    let raw = execution.written();
    let (has_names, _) = has_names(expansion);
    if results.is_scalar() {
        // Emacs wants rows, to put a rule under the names.
        let text = if has_names { "Could not parse R result" } else { raw.trim_end_matches('\n') };
        return Value::text(text);
    }
    let value = import::table(&raw, Separator::Tab);
    match (has_names, value) {
        (true, Value::List(mut rows)) => {
            rows.insert(1, Value::rule());
            Value::List(rows)
        }
        (_, value) => value,
    }
}

/// Whether names of columns and of rows are asked for.
fn has_names(expansion: &Expansion) -> (bool, bool) {
    let is_requested = |key: &str, names: &[(String, Value)]| {
        let value = expansion.arguments.get(key);
        value.is_some_and(|value| *value == Value::text("yes")) || colnames::pick(names, value) != Value::Nil
    };
    (is_requested(":colnames", &expansion.names.columns), is_requested(":rownames", &expansion.names.rows))
}

/// The code with its variables.
pub(crate) fn expanded_code(expansion: &Expansion) -> String {
    expansion.expanded_body(assignments(expansion))
}

/// Lines that set the variables.
pub(crate) fn assignments(expansion: &Expansion) -> Vec<String> {
    let is_yes = |key: &str| expansion.arguments.get(key) == Some(&Value::text("yes"));
    let (columns, rows) = (is_yes(":colnames"), is_yes(":rownames"));
    let one = |(n, (name, value)): (usize, &(String, Value))| {
        // Names are put back in the order in which they were taken off.
        let column_names = expansion.names.columns.get(n).map(|(_, names)| names.clone()).unwrap_or_default();
        let row_names = expansion.names.rows.get(n).map(|(_, names)| names.clone()).unwrap_or_default();
        let value = with_names(value.clone(), column_names, row_names);
        assignment(name, &value, columns, rows)
    };
    expansion.variables.iter().enumerate().map(one).collect()
}

/// A table with its names.
fn with_names(value: Value, column_names: Value, row_names: Value) -> Value {
    let names = colnames::TableHeaders {
        columns: vec![(String::new(), column_names)],
        rows: vec![(String::new(), row_names)],
    };
    colnames::restore_all(value, &names)
}

fn assignment(name: &str, value: &Value, columns: bool, rows: bool) -> String {
    let Some(items) = value.items() else {
        return match value {
            Value::Integer(number) => format!("{name} <- {number}L"),
            Value::BigInteger(digits) => format!("{name} <- {digits}L"),
            Value::Float(_) => format!("{name} <- {}", value.prin1()),
            Value::Text(_) => format!("{name} <- {}", value.prin1()),
            other => format!("{name} <- {}", literal(&other.prin1())),
        };
    };
    let widths: Vec<usize> = items.iter().filter_map(Value::items).map(<[_]>::len).collect();
    let (most, least) =
        (widths.iter().max().copied().unwrap_or(0), widths.iter().min().copied().unwrap_or(0));
    let wrapped: Vec<Value>;
    let items = match items.first() {
        Some(first) if !first.is_list() => {
            wrapped = items.iter().map(|item| Value::list(vec![item.clone()])).collect();
            &wrapped
        }
        _ => items,
    };
    let data = generic::lines(items, "\t", None, |cell| format!("\"{}\"", cell.replace('"', "\"\"")));
    let has_header = if columns || items.get(1).is_some_and(Value::is_rule) { "TRUE" } else { "FALSE" };
    let row_names = if rows { "1" } else { "NULL" };
    let end = if most == least {
        "as.is     = TRUE\n     )".to_owned()
    } else {
        format!(
            "as.is     = TRUE,\n       fill      = TRUE,\n       col.names = paste(\"V\", seq_len({most}), sep =\"\")\n     )"
        )
    };
    format!(
        "{name} <- local({{\n     con <- textConnection(\n       {}\n     )\n     res <- utils::read.table(\n       con,\n       \
         header    = {has_header},\n       row.names = {row_names},\n       sep       = \"\\t\",\n       {end}\n     close(con)\n     res\n   }})",
        literal(&data)
    )
}

fn literal(text: &str) -> String {
    let mut out = String::new();
    quote(text, &mut out);
    out
}

/// What draws into a file: by the file's extension, the device and what it calls its file.
const DEVICES: [(&str, &str, &str); 10] = [
    ("bmp", "bmp", "filename"),
    ("jpg", "jpeg", "filename"),
    ("jpeg", "jpeg", "filename"),
    ("tikz", "tikz", "file"),
    ("tiff", "tiff", "filename"),
    ("png", "png", "filename"),
    ("svg", "svg", "file"),
    ("pdf", "pdf", "file"),
    ("ps", "postscript", "file"),
    ("postscript", "postscript", "file"),
];

/// Header arguments that are the device's.
const DEVICE_OPTIONS: [&str; 19] = [
    ":width",
    ":height",
    ":bg",
    ":units",
    ":pointsize",
    ":antialias",
    ":quality",
    ":compression",
    ":res",
    ":type",
    ":family",
    ":title",
    ":fonts",
    ":version",
    ":paper",
    ":encoding",
    ":pagecentre",
    ":colormodel",
    ":useDingbats",
];

fn with_graphics_device(expansion: &Expansion, file: &str, code: &str) -> String {
    let extension = file.rsplit_once('.').map_or("png", |(_, extension)| extension);
    let (_, device, key) = DEVICES.iter().find(|(name, ..)| *name == extension).unwrap_or(&DEVICES[5]);
    let options: String = (expansion.arguments.pairs().iter())
        .filter(|(key, _)| DEVICE_OPTIONS.contains(&key.as_str()) || key == ":horizontal")
        .map(|(key, value)| format!(",{}={}", &key[1..], value.prin1()))
        .collect();
    let device_arguments = expansion
        .arguments
        .text(":R-dev-args")
        .map_or(String::new(), |device_arguments| format!(",{device_arguments}"));
    format!(
        "{device}({key}={}{options}{device_arguments}); tryCatch({{\n{code}\n}},error=function(e){{\
         plot(x=-1:1, y=-1:1, type='n', xlab='', ylab='', axes=FALSE); \
         text(x=0, y=0, labels=e$message, col='red'); paste('ERROR', e$message, sep=' : ')}}); dev.off()",
        literal(file)
    )
}
