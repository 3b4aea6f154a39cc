//! As much of JSON Schema as our OpenAPI document uses: enough to hold replies to it.

use serde_json::Value;

/// Every way in which `value` is not what `schema` says; empty when it is.
pub fn faults(document: &Value, schema: &Value, value: &Value, path: &str) -> Vec<String> {
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        let target = document.pointer(reference.trim_start_matches('#'));
        let target = target.unwrap_or_else(|| panic!("{reference} leads nowhere"));
        return faults(document, target, value, path);
    }
    for key in schema.as_object().into_iter().flatten().map(|(key, _)| key.as_str()) {
        assert!(KNOWN.contains(&key), "schema.rs does not know {key:?} at {path}");
    }
    let each = |key: &str| schema.get(key).and_then(Value::as_array);
    let mut found = Vec::new();
    if let Some(parts) = each("allOf") {
        found.extend(parts.iter().flat_map(|part| faults(document, part, value, path)));
    }
    for key in ["oneOf", "anyOf"] {
        let Some(parts) = each(key) else { continue };
        if !parts.iter().any(|part| faults(document, part, value, path).is_empty()) {
            found.push(format!("{path}: none of {key}: {value}"));
        }
    }
    if let Some(wanted) = schema.get("type") {
        let fits = |name: &Value| is(value, name.as_str().unwrap());
        if !wanted.as_array().map_or_else(|| fits(wanted), |names| names.iter().any(fits)) {
            found.push(format!("{path}: not {wanted}: {value}"));
        }
    }
    if let (Some(object), Some(required)) = (value.as_object(), each("required")) {
        for name in required.iter().filter_map(Value::as_str).filter(|name| !object.contains_key(*name)) {
            found.push(format!("{path}: {name} is missing"));
        }
    }
    if let (Some(object), Some(properties)) = (value.as_object(), schema.get("properties")) {
        for (name, inner) in object {
            if let Some(schema) = properties.get(name) {
                found.extend(faults(document, schema, inner, &format!("{path}/{name}")));
            }
        }
    }
    if let (Some(items), Some(schema)) = (value.as_array(), schema.get("items")) {
        let inner = items.iter().enumerate();
        found.extend(inner.flat_map(|(i, item)| faults(document, schema, item, &format!("{path}/{i}"))));
    }
    found
}

/// Names of all properties that `schema` gives an object, through `allOf` and references.
pub fn properties(document: &Value, schema: &Value) -> Vec<String> {
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        return properties(document, document.pointer(reference.trim_start_matches('#')).unwrap());
    }
    let parts = ["allOf", "oneOf", "anyOf"].into_iter().filter_map(|key| schema.get(key)?.as_array());
    let inner = parts.flatten().flat_map(|part| properties(document, part));
    let own = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
    own.map(|(name, _)| name.clone()).chain(inner).collect()
}

const KNOWN: &[&str] = &[
    "type",
    "properties",
    "required",
    "items",
    "allOf",
    "oneOf",
    "anyOf",
    "description",
    "format",
    "example",
    "minimum",
    "default",
    "propertyNames",
    "additionalProperties",
];

fn is(value: &Value, name: &str) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("type {other}"),
    }
}
