//! `/v2/auth`: users, roles, and whether they count.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Response, StatusCode};
use quoin_store::push_json_string;
use tonic::body::Body;

use super::auth::AuthError;
use super::json::Json;
use super::users::{Role, User, is_empty};
use super::{V2, answer, path};

const URL_PREFIX: &[u8] = b"/v2/auth";
const METHODS: &str = "GET,PUT,DELETE";

/// What a path below the prefix names.
enum Resource {
    Users,
    User(Vec<u8>),
    Roles,
    Role(Vec<u8>),
    Enabled,
    Invalid,
}

impl Resource {
    /// Nothing for a path that etcd does not have.
    fn of(path: &[u8]) -> Option<Self> {
        let below = path.strip_prefix(URL_PREFIX)?;
        match below {
            b"/users" => return Some(Self::Users),
            b"/roles" => return Some(Self::Roles),
            b"/enable" => return Some(Self::Enabled),
            _ => {}
        }
        let is_user = below.starts_with(b"/users/");
        if !is_user && !below.starts_with(b"/roles/") {
            return None;
        }
        let clean = path::clean(below);
        let parts: Vec<&[u8]> = clean.split(|byte| *byte == b'/').collect();
        Some(match parts[..] {
            [_, _] if is_user => Self::Users,
            [_, _] => Self::Roles,
            [_, _, name] if is_user => Self::User(name.to_vec()),
            [_, _, name] => Self::Role(name.to_vec()),
            _ => Self::Invalid,
        })
    }
}

/// Why a request is answered with an error.
enum Refusal {
    Auth(AuthError),
    BadRequest(&'static str),
}

impl From<AuthError> for Refusal {
    fn from(error: AuthError) -> Self {
        Self::Auth(error)
    }
}

/// Answers a request below `/v2/auth`.
pub(super) async fn handle<B>(
    v2: &Arc<V2>,
    path: &[u8],
    parts: &Parts,
    body: Pin<&mut B>,
) -> Response<Body>
where
    B: hyper::body::Body<Data = Bytes>,
    B::Error: std::fmt::Display,
{
    let Some(resource) = Resource::of(path) else { return answer::not_found() };
    let allowed = match resource {
        Resource::Users | Resource::Roles => "GET",
        Resource::User(_) | Resource::Role(_) | Resource::Enabled => METHODS,
        Resource::Invalid => return answer::message(StatusCode::BAD_REQUEST, b"Invalid path"),
    };
    if !allowed.split(',').any(|method| parts.method == method) {
        return answer::method_not_allowed(allowed);
    }
    // Whether users and roles count may be asked by everybody.
    let is_public = matches!(resource, Resource::Enabled) && parts.method == Method::GET;
    if !is_public && !v2.has_root_access(parts).await {
        return no_access();
    }
    let body = match parts.method {
        Method::PUT => match v2.body(body).await {
            Ok(body) => body,
            Err(error) => return error.into_response(),
        },
        _ => Bytes::new(),
    };
    let answered = match resource {
        Resource::Users => users(v2).await,
        Resource::User(name) => user(v2, &parts.method, &name, &body).await,
        Resource::Roles => roles(v2).await,
        Resource::Role(name) => role(v2, &parts.method, &name, &body).await,
        Resource::Enabled | Resource::Invalid => enabled(v2, &parts.method).await,
    };
    let mut response = match answered {
        Ok((status, body)) => answer::json(status, body),
        Err(Refusal::BadRequest(text)) => answer::message(StatusCode::BAD_REQUEST, text.as_bytes()),
        Err(Refusal::Auth(error)) => refused(error),
    };
    answer::set_cluster(&mut response, v2.member.cluster_id);
    response
}

/// The answer to those who may not do this.
pub(super) fn no_access() -> Response<Body> {
    answer::message(StatusCode::UNAUTHORIZED, b"Insufficient credentials")
}

fn refused(error: AuthError) -> Response<Body> {
    match error {
        AuthError::Rule(status, text) => {
            answer::message(status, &[b"auth: ", text.as_slice()].concat())
        }
        AuthError::Key(error) if error.is_of_store() => error.into_response(),
        AuthError::Key(_) | AuthError::Internal => {
            answer::message(StatusCode::INTERNAL_SERVER_ERROR, b"Internal Server Error")
        }
    }
}

type Answered = Result<(StatusCode, Vec<u8>), Refusal>;

async fn users(v2: &V2) -> Answered {
    let mut body = b"{\"users\":".to_vec();
    let names = v2.user_names()?;
    for (position, name) in names.iter().enumerate() {
        body.push(if position == 0 { b'[' } else { b',' });
        let user = v2.known_user(name).await?;
        let mut roles = Vec::new();
        // A role that is gone is not missed here.
        for role in user.roles.iter().flatten() {
            roles.extend(v2.known_role(role.as_bytes()).await.ok());
        }
        push_user(&mut body, &user.name, &roles);
    }
    body.extend_from_slice(if names.is_empty() { b"null}\n" } else { b"]}\n" });
    Ok((StatusCode::OK, body))
}

/// Writes a user with all that his roles allow.
fn push_user(out: &mut Vec<u8>, name: &str, roles: &[Role]) {
    out.extend_from_slice(b"{\"user\":");
    push_json_string(out, name.as_bytes());
    for (position, role) in roles.iter().enumerate() {
        out.extend_from_slice(if position == 0 { b",\"roles\":[" } else { b"," });
        role.push(out);
    }
    out.extend_from_slice(if roles.is_empty() { b"}" } else { b"]}" });
}

async fn roles(v2: &V2) -> Answered {
    let mut body = b"{\"roles\":".to_vec();
    for (position, name) in v2.role_names()?.iter().enumerate() {
        body.push(if position == 0 { b'[' } else { b',' });
        v2.known_role(name).await?.push(&mut body);
    }
    body.extend_from_slice(b"]}\n");
    Ok((StatusCode::OK, body))
}

async fn user(v2: &V2, method: &Method, name: &[u8], body: &[u8]) -> Answered {
    if *method == Method::GET {
        let user = v2.known_user(name).await?;
        let mut roles = Vec::new();
        for role in user.roles.iter().flatten() {
            roles.push(v2.known_role(role.as_bytes()).await?);
        }
        let mut body = Vec::new();
        push_user(&mut body, &user.name, &roles);
        body.push(b'\n');
        return Ok((StatusCode::OK, body));
    }
    if *method == Method::DELETE {
        v2.delete_user(name).await?;
        return Ok((StatusCode::OK, Vec::new()));
    }
    let given = read(body, User::read)?;
    if given.name.as_bytes() != name {
        return Err(Refusal::BadRequest("User JSON name does not match the name in the URL"));
    }
    let is_change = !is_empty(&given.grant) || !is_empty(&given.revoke);
    let (mut user, is_new) = match (is_change, is_empty(&given.roles)) {
        (true, true) => (v2.update_user(given).await?, false),
        (true, false) => {
            return Err(Refusal::BadRequest("User JSON contains both roles and grant/revoke"));
        }
        (false, true) => v2.create_or_update_user(given).await?,
        // etcd says 200 for a new user with roles.
        (false, false) => (v2.create_user(given).await?, false),
    };
    user.password.clear();
    let mut body = Vec::new();
    user.push(&mut body);
    body.push(b'\n');
    Ok((if is_new { StatusCode::CREATED } else { StatusCode::OK }, body))
}

async fn role(v2: &V2, method: &Method, name: &[u8], body: &[u8]) -> Answered {
    let (status, role) = match *method {
        Method::GET => (StatusCode::OK, v2.known_role(name).await?),
        Method::DELETE => {
            v2.delete_role(name).await?;
            return Ok((StatusCode::OK, Vec::new()));
        }
        _ => {
            let given = read(body, Role::read)?;
            if given.name.as_bytes() != name {
                let text = "Role JSON name does not match the name in the URL";
                return Err(Refusal::BadRequest(text));
            }
            if given.is_new() {
                v2.create_role(&given).await?;
                (StatusCode::CREATED, given)
            } else if given.permissions.is_empty() {
                (StatusCode::OK, v2.update_role(&given).await?)
            } else {
                let text = "Role JSON contains both permissions and grant/revoke";
                return Err(Refusal::BadRequest(text));
            }
        }
    };
    let mut body = Vec::new();
    role.push(&mut body);
    body.push(b'\n');
    Ok((status, body))
}

async fn enabled(v2: &V2, method: &Method) -> Answered {
    let is_enabled = v2.is_auth_enabled();
    let body = match *method {
        Method::GET => format!("{{\"enabled\":{is_enabled}}}\n").into_bytes(),
        Method::PUT => {
            v2.enable_auth().await?;
            Vec::new()
        }
        _ => {
            v2.disable_auth().await?;
            Vec::new()
        }
    };
    Ok((StatusCode::OK, body))
}

fn read<T>(body: &[u8], read: impl FnOnce(&Json) -> Option<T>) -> Result<T, Refusal> {
    let json = Json::parse_first(body).ok();
    json.and_then(|json| read(&json)).ok_or(Refusal::BadRequest("Invalid JSON in request body."))
}
