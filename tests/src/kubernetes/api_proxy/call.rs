//! What a request asks for, in the words of access control: a verb and a resource.

use axum::http::{Method, Request};

/// A verb and a resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    /// `get`, `list`, `watch`, `create`, `update`, `patch` or `delete`.
    pub verb: &'static str,
    /// API group; empty for the core.
    pub group: String,
    /// Plural name, with a subresource after a slash.
    pub resource: String,
}

impl Call {
    /// What `request` asks for.
    pub fn of<B>(request: &Request<B>) -> Call {
        let uri = request.uri();
        let parts: Vec<&str> = uri
            .path()
            .split('/')
            .filter(|part| !part.is_empty())
            .collect();
        let (group, rest) = match parts.as_slice() {
            ["api", _version, rest @ ..] => ("", rest),
            ["apis", group, _version, rest @ ..] => (*group, rest),
            other => ("", other),
        };
        let rest = match rest {
            ["namespaces", _name, rest @ ..] if !rest.is_empty() => rest,
            rest => rest,
        };
        let (resource, is_named) = match rest {
            [resource, _name, subresource, ..] => (format!("{resource}/{subresource}"), true),
            [resource, _name] => ((*resource).to_string(), true),
            [resource] => ((*resource).to_string(), false),
            [] => (String::new(), false),
        };
        let is_watch = uri
            .query()
            .is_some_and(|query| query.split('&').any(|part| part == "watch=true"));
        let verb = match *request.method() {
            Method::POST => "create",
            Method::PUT => "update",
            Method::PATCH => "patch",
            Method::DELETE => "delete",
            _ if is_watch => "watch",
            _ if is_named => "get",
            _ => "list",
        };
        Call {
            verb,
            group: group.into(),
            resource,
        }
    }

    /// Whether it changes something.
    pub fn is_write(&self) -> bool {
        !matches!(self.verb, "get" | "list" | "watch")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn call_names_the_rbac_rule() {
        let told = |method: Method, uri: &str| {
            let request = Request::builder().method(method).uri(uri).body(());
            let call = Call::of(&request.expect("a request"));
            format!("{} {} {}", call.verb, call.group, call.resource)
        };
        for (method, uri, expected) in [
            (Method::GET, "/api/v1/pods?limit=500", "list  pods"),
            (
                Method::GET,
                "/api/v1/namespaces/n/pods?a=b&watch=true",
                "watch  pods",
            ),
            (
                Method::PATCH,
                "/apis/scalequest.dev/v1alpha1/namespaces/n/synthesisruns/x/status?force=true",
                "patch scalequest.dev synthesisruns/status",
            ),
            (
                Method::DELETE,
                "/apis/batch/v1/namespaces/n/jobs/x",
                "delete batch jobs",
            ),
            (Method::GET, "/api/v1/namespaces/n", "get  namespaces"),
        ] {
            assert_eq!(told(method, uri), expected);
        }
    }
}
