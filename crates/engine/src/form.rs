//! Questions of graphs: their answers are held against the form.

use ambidex_core::question::{Answer, Question};
use ambidex_tools::Validator;
use serde_json::{Value, json};

/// The form of a question that a node asks; nothing where a call waits for approval.
pub(crate) fn form(question: &Question) -> Option<&Value> {
    let asks = question.about.as_str().starts_with("human:");
    question.args.get("form").filter(|_| asks)
}

/// The answer as it is taken. Saying yes or no to a form with one thing to say that to is filling it in, and so is a
/// value where the form has one field.
///
/// # Errors
/// What does not fit, and what would.
pub(crate) fn answer(question: &Question, answer: Answer) -> Result<Answer, String> {
    let Some(form) = form(question) else { return Ok(answer) };
    let yes = only_field(form).filter(|(_, schema)| schema["type"] == "boolean").map(|(name, _)| name);
    let value = match (&answer, only_field(form)) {
        (Answer::Answer { answer: value } | Answer::Edit { args: value }, Some((name, _)))
            if !value.is_object() =>
        {
            json!({ name: value })
        }
        (Answer::Answer { answer: value } | Answer::Edit { args: value }, _) => value.clone(),
        (Answer::Approve | Answer::Repeat, _) if form["type"] == "boolean" => true.into(),
        (Answer::Approve | Answer::Repeat, _) => match yes {
            Some(name) => json!({ name: true }),
            None => return Err(format!("the question wants a form filled in: {}", fields(form))),
        },
        (Answer::Reject { .. }, _) if yes.is_some() => json!({ yes.unwrap_or_default(): false }),
        (Answer::Reject { .. } | Answer::Reply(_), _) => return Ok(answer),
    };
    let checked = Validator::new(form).map_err(|error| error.message().to_owned())?.check(&value);
    match checked {
        Ok(()) => Ok(Answer::Answer { answer: value }),
        Err(why) => Err(format!("{why}; the form is {}", fields(form))),
    }
}

/// The field of a form that has just one.
fn only_field(form: &Value) -> Option<(&str, &Value)> {
    let fields = form["properties"].as_object()?;
    fields.iter().next().filter(|_| fields.len() == 1).map(|(name, schema)| (name.as_str(), schema))
}

/// Each as `name: type`.
fn fields(form: &Value) -> String {
    let required =
        |name: &str| form["required"].as_array().is_some_and(|names| names.iter().any(|it| it == name));
    let field = |(name, schema): (&String, &Value)| {
        let of = match schema["enum"].as_array() {
            Some(choices) => {
                let choices: Vec<String> = choices.iter().map(Value::to_string).collect();
                choices.join(" or ")
            }
            None => schema["type"].as_str().unwrap_or("anything").to_owned(),
        };
        format!("{name}{}: {of}", if required(name) { "" } else { "?" })
    };
    let fields: Vec<String> = form["properties"].as_object().into_iter().flatten().map(field).collect();
    if fields.is_empty() { form.to_string() } else { format!("{{ {} }}", fields.join(", ")) }
}
