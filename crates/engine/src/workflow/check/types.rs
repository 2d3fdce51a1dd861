//! What is known of a value before it is there.

use serde_json::Value;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Type {
    Any,
    Null,
    Bool,
    Integer,
    Number,
    Text,
    List(Box<Type>),
    Table(Table),
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Table {
    pub fields: Vec<(String, Type)>,
    /// It may have other fields, too.
    pub open: bool,
}

impl Table {
    pub(super) fn closed(fields: impl IntoIterator<Item = (&'static str, Type)>) -> Self {
        let fields = fields.into_iter().map(|(name, of)| (name.to_owned(), of)).collect();
        Self { fields, open: false }
    }

    pub(super) fn field(&self, name: &str) -> Option<&Type> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, of)| of)
    }

    pub(super) fn names(&self) -> Vec<&str> {
        self.fields.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// Adds a field, unless there is one of this name.
    pub(super) fn add(&mut self, name: &str, of: Type) {
        if self.field(name).is_none() {
            self.fields.push((name.to_owned(), of));
        }
    }
}

impl Type {
    pub(super) fn of_schema(schema: &Value) -> Self {
        match schema["type"].as_str() {
            Some("null") => Self::Null,
            Some("boolean") => Self::Bool,
            Some("integer") => Self::Integer,
            Some("number") => Self::Number,
            Some("string") => Self::Text,
            Some("array") => Self::List(Box::new(Self::of_schema(&schema["items"]))),
            Some("object") => Self::Table(Self::table_of(schema)),
            Some(_) => Self::Any,
            None if schema["properties"].is_object() => Self::Table(Self::table_of(schema)),
            None => Self::Any,
        }
    }

    /// A table that names its fields has no others, unless its schema says so.
    fn table_of(schema: &Value) -> Table {
        let properties = schema["properties"].as_object();
        let fields: Vec<_> = properties
            .into_iter()
            .flatten()
            .map(|(name, schema)| (name.clone(), Self::of_schema(schema)))
            .collect();
        let more = &schema["additionalProperties"];
        let open = more.as_bool().unwrap_or(more.is_object()) || (properties.is_none() && *more != false);
        Table { fields, open }
    }

    pub(super) fn of_value(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(_) => Self::Bool,
            Value::Number(number) if number.is_f64() => Self::Number,
            Value::Number(_) => Self::Integer,
            Value::String(_) => Self::Text,
            Value::Array(list) => {
                let mut kinds = list.iter().map(Self::of_value);
                let first = kinds.next().unwrap_or(Self::Any);
                let same = kinds.all(|kind| kind == first);
                Self::List(Box::new(if same { first } else { Self::Any }))
            }
            Value::Object(fields) => Self::Table(Table {
                fields: fields.iter().map(|(name, value)| (name.clone(), Self::of_value(value))).collect(),
                open: false,
            }),
        }
    }

    pub(super) fn is_number(&self) -> bool {
        matches!(self, Self::Integer | Self::Number)
    }

    /// Whether a value of this type may be taken where the other is wanted.
    pub(super) fn fits(&self, wanted: &Self) -> bool {
        match (self, wanted) {
            (Self::Any, _) | (_, Self::Any) => true,
            (Self::Integer, Self::Number) => true,
            // 3.0 is a whole number.
            (Self::Number, Self::Integer) => true,
            (Self::List(of), Self::List(wanted)) => of.fits(wanted),
            (Self::Table(of), Self::Table(wanted)) => {
                wanted.fields.iter().all(|(name, wanted)| of.field(name).is_none_or(|of| of.fits(wanted)))
            }
            (one, other) => one == other,
        }
    }

    /// Whether two values can be equal at all.
    pub(super) fn comparable(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any | Self::Null, _) | (_, Self::Any | Self::Null) => true,
            (one, other) if one.is_number() && other.is_number() => true,
            (Self::List(_), Self::List(_)) | (Self::Table(_), Self::Table(_)) => true,
            (one, other) => one == other,
        }
    }

    pub(super) fn words(&self) -> String {
        match self {
            Self::Any => "anything".into(),
            Self::Null => "null".into(),
            Self::Bool => "true or false".into(),
            Self::Integer => "a whole number".into(),
            Self::Number => "a number".into(),
            Self::Text => "a text".into(),
            Self::List(of) => match **of {
                Self::Any => "a list".into(),
                Self::Text => "a list of texts".into(),
                Self::Integer | Self::Number => "a list of numbers".into(),
                Self::Table(_) => "a list of tables".into(),
                _ => "a list".into(),
            },
            Self::Table(_) => "a table".into(),
        }
    }
}
