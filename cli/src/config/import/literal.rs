//! A value in a configuration of the original.

/// What can stand after a key.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Literal {
    Integer(i64),
    Text(String),
    Truth(bool),
    Nothing,
    List(Vec<Literal>),
    Table(Vec<(String, Literal)>),
}

impl Literal {
    /// The number, also if it is written as text (INI knows only text).
    pub(super) fn integer(&self) -> Option<i64> {
        match self {
            Literal::Integer(number) => Some(*number),
            Literal::Text(text) => text.trim().parse().ok(),
            _ => None,
        }
    }

    /// The truth value, also if it is written as text.
    pub(super) fn truth(&self) -> Option<bool> {
        match self {
            Literal::Truth(truth) => Some(*truth),
            Literal::Text(text) => match text.trim().to_ascii_lowercase().as_str() {
                "true" | "yes" | "on" | "1" => Some(true),
                "false" | "no" | "off" | "0" => Some(false),
                _ => None,
            },
            _ => None,
        }
    }

    /// The value as plain text.
    pub(super) fn text(&self) -> String {
        match self {
            Literal::Integer(number) => number.to_string(),
            Literal::Text(text) => text.clone(),
            Literal::Truth(truth) => truth.to_string(),
            Literal::Nothing => "None".to_owned(),
            Literal::List(items) => items.iter().map(Literal::text).collect::<Vec<_>>().join(", "),
            Literal::Table(_) => "{…}".to_owned(),
        }
    }
}
