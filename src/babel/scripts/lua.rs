//! Lua.

use std::fmt::Write;

use crate::invocation::{Execution, Expansion, Invocation};
use crate::read;
use crate::value::Value;

/// Writes down what the body returns: one value as it is shown, several in quotes with commas between.
const WRITE: &str = r#"
local function borges_show(it, indent)
  if type(it) ~= 'table' or not PP then return tostring(it) end
  local keys = {}
  for key in pairs(it) do keys[#keys + 1] = key end
  table.sort(keys)
  local lines = {}
  for n, key in ipairs(keys) do
    lines[n] = indent .. borges_show(key, '') .. ' = ' .. borges_show(it[key], indent .. '  ')
  end
  return (indent ~= '' and '\n' or '') .. table.concat(lines, '\n')
end
local function borges_all(...)
  local shown = {}
  for n = 1, select('#', ...) do shown[n] = borges_show((select(n, ...)), '') end
  if #shown == 1 and not string.find(shown[1], '^[%(%[{]') then return shown[1] end
  return '"' .. table.concat(shown, ', ') .. '"'
end
local borges_text = borges_all(main())
local borges_out = assert(io.open(os.getenv('MESOS_SANDBOX') .. '/block/value', 'w'))
borges_out:write(borges_text)
borges_out:close()
"#;

pub(crate) fn compose(expansion: &Expansion) -> Invocation {
    let results = expansion.arguments.results();
    let preamble = expansion.arguments.text(":preamble").map_or(String::new(), |text| text + "\n");
    let code = expanded_code(expansion);
    let code = if results.is_value() {
        let pp = if results.has("pp") { "true" } else { "false" };
        // Emacs indents, and so lengthens what a text of several lines holds.
        let lines: Vec<String> = code
            .trim_matches([' ', '\t', '\n', '\r'])
            .split(['\r', '\n'])
            .map(|line| format!("\t{line}"))
            .collect();
        format!("{preamble}function main()\n{}\nend\n{}", lines.join("\n"), WRITE.replace("PP", pp))
    } else {
        preamble + &code
    };
    let (program, arguments) = expansion.command(":lua");
    Invocation::script(program, arguments, &code)
}

pub(crate) fn collect(expansion: &Expansion, execution: &Execution) -> Value {
    let raw =
        if expansion.arguments.results().is_value() { execution.written() } else { execution.printed() };
    let value = expansion.scalar_or(&raw, || match read::script(raw.trim_matches([' ', '\t', '\n', '\r'])) {
        Value::List(items) => {
            let rule = |item| if item == Value::Symbol("None".into()) { Value::rule() } else { item };
            Value::List(items.into_iter().map(rule).collect())
        }
        value => value,
    });
    expansion.restore_names(value)
}

/// The code with its variables, and with what `:return` names.
pub(crate) fn expanded_code(expansion: &Expansion) -> String {
    let mut body = expansion.body.to_owned();
    if let Some(value) =
        expansion.arguments.text(":return").filter(|_| expansion.arguments.results().is_value())
    {
        let _ = write!(body, "\nreturn {value}");
    }
    Expansion { body: &body, ..*expansion }.expanded_body(assignments(expansion))
}

/// Lines that set the variables.
pub(crate) fn assignments(expansion: &Expansion) -> Vec<String> {
    expansion.variables.iter().map(|(name, value)| format!("{name}={}", top_literal(value))).collect()
}

/// A list of one is what is in it; a list of two texts is a list all the same.
fn top_literal(value: &Value) -> String {
    match value {
        Value::List(items) if items.len() == 2 && items.iter().all(|item| !item.is_list()) => {
            table_literal(items)
        }
        value => literal(value),
    }
}

fn literal(value: &Value) -> String {
    match value {
        Value::Nil => "{}".to_owned(),
        Value::List(items) => match items.as_slice() {
            [only] if !only.is_list() => literal(only),
            [Value::Text(key), rest] => format!("{key}={}", literal(rest)),
            items => table_literal(items),
        },
        value if value.is_rule() => "None".to_owned(),
        Value::Text(text) if text.contains(['\n', '\r']) => format!("[=[{text}]=]"),
        value => value.prin1(),
    }
}

fn table_literal(items: &[Value]) -> String {
    format!("{{{}}}", items.iter().map(literal).collect::<Vec<_>>().join(", "))
}
