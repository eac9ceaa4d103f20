//! Parsers for `:expose` and `:constraint`.

use super::value_parsers::{self, Help};
use borges_task::{Constraint, Field, Operator, Port};

/// `:expose HOST:CONTAINER …`; a port alone is both, 0 is any.
pub(super) fn ports(text: &str) -> Result<Vec<Port>, Help> {
    let help = || {
        "Write ports of the machine, such as `8080`, or `0` for any one: \
                   `$PORT0` says which it is. Within a container it may be another: `8080:80`."
            .to_owned()
    };
    let number =
        |text: &str| text.parse::<u16>().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
    let port = |word: &str| match word.split_once(':') {
        Some((host, container)) => Some(Port { host: number(host)?, container: number(container)? }),
        None => number(word).map(|port| Port { host: port, container: port }),
    };
    let ports: Vec<Port> = text.split_whitespace().map(port).collect::<Option<_>>().ok_or_else(help)?;
    for (index, port) in ports.iter().enumerate() {
        if port.host != 0 && ports[..index].iter().any(|other| other.host == port.host) {
            return Err(format!("Write the port {} once.", port.host));
        }
    }
    if ports.is_empty() { Err(help()) } else { Ok(ports) }
}

/// Ports that only a container could make good: another within than without.
pub(super) fn has_port_mapping(ports: &[Port]) -> Option<&Port> {
    ports.iter().find(|port| port.container != 0 && port.container != port.host)
}

/// `:constraint FIELD:OPERATOR[:VALUE] …`, with double quotes round blanks. Source: Marathon, "Constraints".
pub(super) fn constraints(text: &str) -> Result<Vec<Constraint>, Help> {
    let words = value_parsers::words(text).filter(|words| !words.is_empty()).ok_or_else(constraint_help)?;
    words.iter().map(|word| constraint(word)).collect()
}

fn constraint_help() -> Help {
    "Write an attribute of agents, or `hostname`, and what must hold of it, such as `rack:IS:r1`, \
     `rack:LIKE:r[12]` or `hostname:UNIQUE`."
        .to_owned()
}

fn constraint(word: &str) -> Result<Constraint, Help> {
    let mut parts = word.splitn(3, ':');
    let (field, operator, value) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
    let operator = operator.ok_or_else(constraint_help)?;
    let value = value.filter(|value| !value.is_empty());
    let field = match field {
        "" => return Err(constraint_help()),
        "hostname" | "@hostname" => Field::Hostname,
        "agent" => Field::Agent,
        "@region" => Field::Region,
        "@zone" => Field::Zone,
        unknown if unknown.starts_with('@') => {
            return Err(format!("There are `@hostname`, `@region` and `@zone`, but no `{unknown}`."));
        }
        name => Field::Attribute(name.to_owned()),
    };
    let needs_value = |example: &str| {
        let example = format!("`{field}:{}:{example}`", operator.to_ascii_uppercase());
        move || format!("It needs a value: {example}.")
    };
    let number = |example: &str| {
        let count = value.map(str::parse::<u32>);
        let help = needs_value(example);
        count.map(|count| count.ok().filter(|&count| count > 0).ok_or_else(help)).transpose()
    };
    let operator = match operator.to_ascii_uppercase().as_str() {
        "UNIQUE" if value.is_some() => return Err(format!("It has no value: `{field}:UNIQUE`.")),
        "UNIQUE" => Operator::Unique,
        "CLUSTER" => Operator::Cluster(value.map(str::to_owned)),
        "GROUP_BY" => Operator::GroupBy(number("3")?),
        "LIKE" => Operator::Like(value.ok_or_else(needs_value("r[12]"))?.to_owned()),
        "UNLIKE" => Operator::Unlike(value.ok_or_else(needs_value("r[12]"))?.to_owned()),
        "MAX_PER" => Operator::MaxPer(number("2")?.ok_or_else(needs_value("2"))?),
        "IS" => Operator::Is(value.ok_or_else(needs_value("r1"))?.to_owned()),
        _ => {
            let all = "UNIQUE, CLUSTER, GROUP_BY, LIKE, UNLIKE, MAX_PER and IS";
            return Err(format!("`{operator}` is no operator: there are {all}."));
        }
    };
    if let Some(Err(error)) = operator.pattern() {
        let why = error.to_string();
        let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ");
        return Err(format!("The regular expression cannot be read: {why}."));
    }
    Ok(Constraint { field, operator })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_accept_host_and_container_numbers() {
        let written = |text| ports(text).map(|ports| ports.iter().map(Port::to_string).collect::<Vec<_>>());
        assert_eq!(
            written("6379:6379 0:80 0 8080"),
            Ok(["6379", "0:80", "0", "8080"].map(str::to_owned).into())
        );
        for wrong in ["", "x", "70000", "80:", ":80", "-1", "+1", "80,81", "1:2:3"] {
            assert!(ports(wrong).unwrap_err().starts_with("Write ports of the machine"), "{wrong}");
        }
        assert_eq!(ports("80 80:81").unwrap_err(), "Write the port 80 once.");
        let mapped = |text| has_port_mapping(&ports(text).unwrap()).map(Port::to_string);
        assert_eq!(["80 0 0:0", "80:80", "80:0"].map(mapped), [None, None, None]);
        assert_eq!(["0:80", "8080:80"].map(mapped), [Some("0:80".into()), Some("8080:80".into())]);
    }

    #[test]
    fn constraints_round_trip_through_text() {
        for text in [
            "hostname:UNIQUE",
            "rack:CLUSTER rack:CLUSTER:r1",
            "rack:GROUP_BY rack:GROUP_BY:3",
            "rack:LIKE:r[12] rack:UNLIKE:a:b",
            "rack:MAX_PER:2 rack:IS:r1",
            "@region:IS:north @zone:UNIQUE agent:IS:a",
        ] {
            let read: Vec<_> = constraints(text).unwrap().iter().map(ToString::to_string).collect();
            assert_eq!(read.join(" "), text);
        }
        let read = |text| constraints(text).unwrap();
        assert_eq!(read("@hostname:unique"), read("hostname:UNIQUE"));
        assert_eq!(read("\"os:IS:Debian 12\"")[0].operator, Operator::Is("Debian 12".to_owned()));
    }

    #[test]
    fn invalid_constraints_get_suggestions() {
        let help = |text| constraints(text).unwrap_err();
        let texts = [
            "",
            "rack",
            ":IS:1",
            "rack:EQUALS:r1",
            "rack:UNIQUE:r1",
            "rack:LIKE",
            "rack:MAX_PER:0",
            "rack:MAX_PER",
            "rack:GROUP_BY:x",
            "rack:LIKE:r[12",
            "rack:LIKE:a)|(b",
            "@rack:IS:1",
        ];
        let all: Vec<_> = texts.iter().map(|text| format!("{text}\n  {}", help(text))).collect();
        insta::assert_snapshot!(all.join("\n"));
    }
}
