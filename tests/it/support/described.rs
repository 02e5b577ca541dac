//! Holds every answer and every frame that a test sees against the documents that the service serves about itself.
//!
//! The documents let unknown members and error codes pass, for the sake of later versions; here they are a failure, or one
//! that nobody has described would never be noticed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

use jsonschema::Validator;
use pgchat::for_tests::{AuthMode, asyncapi, openapi};
use reqwest::Method;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::users::NOBODY;

/// Panics if the API's document does not say that this request can have this answer. Requests to paths outside of the
/// document, and by methods that it does not name there, are not its concern.
pub fn assert_answer(method: &Method, path: &str, status: u16, kind: &str, body: &str) {
    let documents = Documents::get();
    let Some(template) = documents.template(path) else {
        assert!(
            !path.starts_with("/api/") || status >= 400,
            "{method} {path} was answered with {status} and stands in no document"
        );
        return;
    };
    let item = &documents.openapi["paths"][template];
    let operation = &item[method.as_str().to_lowercase()];
    if operation.is_null() {
        return;
    }
    let response = &operation["responses"][status.to_string()];
    assert!(
        !response.is_null(),
        "{method} {template} does not document the status {status}: {body}"
    );
    let kind = kind.split(';').next().unwrap_or_default();
    match response["content"][kind]["schema"].as_object() {
        Some(schema) if kind == "application/json" => {
            let name = format!("{method} {template} {status}");
            documents.check(&name, &documents.openapi, schema, body);
        }
        Some(_) => {}
        None => assert!(
            body.is_empty(),
            "{method} {template} {status}: {kind:?}: {body}"
        ),
    }
}

/// Method and path of every operation of the document, about this user and this conversation; about no message.
pub fn operations(user: Uuid, conversation: Uuid) -> Vec<(Method, String)> {
    let paths = Documents::get().openapi["paths"].as_object();
    let mut operations = Vec::new();
    for (path, item) in paths.expect("paths") {
        let path = path
            .replace("{user_id}", &user.to_string())
            .replace("{conversation_id}", &conversation.to_string())
            .replace("{message_id}", &NOBODY.to_string())
            .replace("{role}", "buyer");
        assert!(!path.contains('{'), "{path} has a parameter of a new name");
        for method in item.as_object().expect("operations").keys() {
            let method = method.to_uppercase().parse().expect("a method");
            operations.push((method, path.clone()));
        }
    }
    operations
}

/// Panics if the socket's document does not know this frame of the server.
pub fn assert_frame(frame: &str) {
    assert_frame_of("server", frame);
}

/// Panics if the socket's document does not know this frame of a client, which the service has to understand.
pub fn assert_command(frame: &str) {
    assert_frame_of("client", frame);
}

fn assert_frame_of(side: &str, frame: &str) {
    let documents = Documents::get();
    let read: Value = serde_json::from_str(frame).expect("a frame is JSON");
    let name = format!("{side}.{}", read["type"].as_str().unwrap_or_default());
    match documents.asyncapi["components"]["messages"][&name]["payload"].as_object() {
        Some(schema) => documents.check(&name, &documents.asyncapi, schema, frame),
        None => panic!("no document knows {name}: {frame}"),
    }
}

struct Documents {
    openapi: Value,
    asyncapi: Value,
    /// By what they check; making one costs more than using it a thousand times.
    validators: Mutex<HashMap<String, Arc<Validator>>>,
}

impl Documents {
    fn get() -> &'static Self {
        static DOCUMENTS: OnceLock<Documents> = OnceLock::new();
        DOCUMENTS.get_or_init(|| Self {
            openapi: closed(openapi::document(AuthMode::Jwt)),
            asyncapi: closed(asyncapi::document(AuthMode::Jwt)),
            validators: Mutex::default(),
        })
    }

    /// The path of the document that a request's path is of; one without parameters goes first.
    fn template(&self, path: &str) -> Option<&str> {
        let path: Vec<&str> = path.trim_end_matches('/').split('/').collect();
        let paths = self.openapi["paths"].as_object().expect("paths");
        paths
            .keys()
            .filter(|template| {
                let template: Vec<&str> = template.split('/').collect();
                template.len() == path.len()
                    && template
                        .iter()
                        .zip(&path)
                        .all(|(wanted, found)| wanted == found || wanted.starts_with('{'))
            })
            .min_by_key(|template| template.matches('{').count())
            .map(String::as_str)
    }

    fn check(&self, name: &str, document: &Value, schema: &Map<String, Value>, text: &str) {
        let validator = {
            let mut validators = self.validators.lock().expect("the validators");
            let entry = validators.entry(name.to_owned());
            entry
                .or_insert_with(|| Arc::new(validator(document, schema)))
                .clone()
        };
        let value: Value = serde_json::from_str(text).expect("JSON");
        let faults: Vec<String> = validator
            .iter_errors(&value)
            .map(|fault| format!("{}: {fault}", fault.instance_path()))
            .collect();
        assert!(
            faults.is_empty(),
            "{name} is not as documented: {faults:#?}\n{text}"
        );
    }
}

fn validator(document: &Value, schema: &Map<String, Value>) -> Validator {
    let mut whole = Value::Object(schema.clone());
    whole["components"] = json!({"schemas": document["components"]["schemas"]});
    jsonschema::options()
        .should_validate_formats(true)
        .build(&whole)
        .expect("a schema")
}

/// No object of the document may have members that it does not name, and a text of those that later versions may add to is one of them.
fn closed(mut document: Value) -> Value {
    fn close(value: &mut Value) {
        match value {
            Value::Object(object) => {
                // A schema and no map of schemas: one of those could have a property called "properties".
                if object.get("type") == Some(&json!("object")) && object.contains_key("properties")
                {
                    object.insert("additionalProperties".to_owned(), json!(false));
                }
                if let Some(known) = object.get("x-extensible-enum").cloned() {
                    object.insert("enum".to_owned(), known);
                }
                object.values_mut().for_each(close);
            }
            Value::Array(items) => items.iter_mut().for_each(close),
            _ => {}
        }
    }
    close(&mut document);
    document
}
