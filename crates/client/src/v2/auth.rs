//! `/v2/auth`: users, roles, and whether they count.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::members::check;
use super::{Call, Client, Deadline, Error, Response, Tries};

const USERS: &str = "/v2/auth/users";
const ROLES: &str = "/v2/auth/roles";
const ENABLE: &str = "/v2/auth/enable";
const OK: u16 = 200;
const CREATED: u16 = 201;

/// A user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// The name.
    pub user: String,
    /// The names of its roles.
    pub roles: Vec<String>,
    /// Whether the server told the roles whole instead of by their names.
    pub has_whole_roles: bool,
}

/// A role and what it allows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Role {
    /// The name.
    pub role: String,
    /// What it allows.
    pub permissions: Permissions,
}

/// What a role allows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Permissions {
    /// On keys.
    pub kv: Paths,
}

/// Paths of keys, exact or with `*` at the end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Paths {
    /// What may be read.
    pub read: Option<Vec<String>>,
    /// What may be written.
    pub write: Option<Vec<String>>,
}

/// What is granted on a path or taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading.
    Read,
    /// Writing.
    Write,
    /// Both.
    ReadWrite,
}

impl Client {
    /// Turns authentication on or off.
    ///
    /// # Errors
    /// If the server refuses, or none answers.
    pub async fn enable_auth(&mut self, enable: bool, deadline: Deadline) -> Result<(), Error> {
        let method = if enable { "PUT" } else { "DELETE" };
        self.done(&Call::new(method, ENABLE), deadline).await
    }

    /// Lists the names of the users.
    ///
    /// # Errors
    /// If the server refuses, or none answers.
    pub async fn users(&mut self, deadline: Deadline) -> Result<Vec<String>, Error> {
        let list = self.found(&Call::new("GET", USERS), deadline).await?;
        Ok(names(&list["users"], "user"))
    }

    /// Makes a user.
    ///
    /// # Errors
    /// If the server refuses, or none answers.
    pub async fn add_user(
        &mut self,
        user: &str,
        password: &str,
        deadline: Deadline,
    ) -> Result<(), Error> {
        let call = Call::new("PUT", named(USERS, user)).json(password_of(user, password));
        self.done(&call, deadline).await
    }

    /// Removes a user.
    ///
    /// # Errors
    /// If the server refuses, or none answers.
    pub async fn remove_user(&mut self, user: &str, deadline: Deadline) -> Result<(), Error> {
        self.done(&Call::new("DELETE", named(USERS, user)), deadline).await
    }

    /// Reads a user.
    ///
    /// # Errors
    /// If the server refuses, or none answers.
    pub async fn user(&mut self, user: &str, deadline: Deadline) -> Result<User, Error> {
        let found = self.found(&Call::new("GET", named(USERS, user)), deadline).await?;
        let has_whole_roles =
            found["roles"].as_array().is_some_and(|roles| roles.iter().any(Value::is_object));
        let roles = names(&found["roles"], "role");
        let user = found["user"].as_str().unwrap_or_default().to_owned();
        Ok(User { user, roles, has_whole_roles })
    }

    /// Grants roles to a user, or takes them back.
    ///
    /// # Errors
    /// If the server refuses, or none answers.
    pub async fn change_roles(
        &mut self,
        user: &str,
        roles: &[String],
        grant: bool,
        deadline: Deadline,
    ) -> Result<(), Error> {
        let what = if grant { "grant" } else { "revoke" };
        let body = format!(r#"{{"user":{},"roles":null,"{what}":{}}}"#, json!(user), json!(roles));
        let call = Call::new("PUT", named(USERS, user)).json(body);
        self.found(&call, deadline).await.map(drop)
    }

    /// Gives a user another password.
    ///
    /// # Errors
    /// If the server refuses, or none answers.
    pub async fn change_password(
        &mut self,
        user: &str,
        password: &str,
        deadline: Deadline,
    ) -> Result<(), Error> {
        let call = Call::new("PUT", named(USERS, user)).json(password_of(user, password));
        self.found(&call, deadline).await.map(drop)
    }

    /// Lists the names of the roles.
    ///
    /// # Errors
    /// If the server refuses, or none answers.
    pub async fn roles(&mut self, deadline: Deadline) -> Result<Vec<String>, Error> {
        let response = self.call(&Call::new("GET", ROLES), Tries::All, deadline).await?;
        check(&response, &[OK])?;
        Ok(names(&read::<Value>(&response)?["roles"], "role"))
    }

    /// Makes a role.
    ///
    /// # Errors
    /// If the server refuses, or none answers.
    pub async fn add_role(&mut self, role: &str, deadline: Deadline) -> Result<(), Error> {
        let call = Call::new("PUT", named(ROLES, role)).json(role_body(role, ""));
        self.done(&call, deadline).await
    }

    /// Removes a role.
    ///
    /// # Errors
    /// If the server refuses, or none answers.
    pub async fn remove_role(&mut self, role: &str, deadline: Deadline) -> Result<(), Error> {
        self.done(&Call::new("DELETE", named(ROLES, role)), deadline).await
    }

    /// Reads a role.
    ///
    /// # Errors
    /// If the server refuses, or none answers.
    pub async fn role(&mut self, role: &str, deadline: Deadline) -> Result<Role, Error> {
        let found = self.found(&Call::new("GET", named(ROLES, role)), deadline).await?;
        serde_json::from_value(found).map_err(|error| Error::Text(error.to_string()))
    }

    /// Grants access to a path to a role, or takes it back, and returns the role as it is then.
    ///
    /// # Errors
    /// If the server refuses, or none answers.
    pub async fn change_access(
        &mut self,
        role: &str,
        path: &str,
        access: Access,
        grant: bool,
        deadline: Deadline,
    ) -> Result<Role, Error> {
        let paths = Some(vec![path.to_owned()]);
        let (read, write) = match access {
            Access::Read => (paths, None),
            Access::Write => (None, paths),
            Access::ReadWrite => (paths.clone(), paths),
        };
        let what = if grant { "grant" } else { "revoke" };
        let kv = json!(Paths { read, write });
        let change = format!(r#","{what}":{{"kv":{kv}}}"#);
        let call = Call::new("PUT", named(ROLES, role)).json(role_body(role, &change));
        let found = self.found(&call, deadline).await?;
        serde_json::from_value(found).map_err(|error| Error::Text(error.to_string()))
    }

    /// A call that is answered with what it found.
    async fn found(&mut self, call: &Call, deadline: Deadline) -> Result<Value, Error> {
        let response = self.call(call, Tries::All, deadline).await?;
        accept(&response, &[OK])?;
        read(&response)
    }

    /// A call that is answered with success alone.
    async fn done(&mut self, call: &Call, deadline: Deadline) -> Result<(), Error> {
        let response = self.call(call, Tries::All, deadline).await?;
        accept(&response, &[OK, CREATED])
    }
}

fn named(path: &str, name: &str) -> String {
    format!("{path}/{name}")
}

// The bodies are written by hand where their fields have etcd's order: `--debug` shows them.

fn password_of(user: &str, password: &str) -> String {
    let password = if password.is_empty() {
        String::new()
    } else {
        format!(r#""password":{},"#, json!(password))
    };
    format!(r#"{{"user":{},{password}"roles":null}}"#, json!(user))
}

fn role_body(role: &str, change: &str) -> String {
    let nothing = r#"{"kv":{"read":null,"write":null}}"#;
    format!(r#"{{"role":{},"permissions":{nothing}{change}}}"#, json!(role))
}

/// The names in a list of names, or of objects that have theirs in `field`.
fn names(list: &Value, field: &str) -> Vec<String> {
    let name = |entry: &Value| entry.as_str().or(entry[field].as_str()).map(str::to_owned);
    list.as_array().into_iter().flatten().filter_map(name).collect()
}

fn accept(response: &Response, wanted: &[u16]) -> Result<(), Error> {
    if wanted.contains(&response.status) {
        return Ok(());
    }
    let refusal: Value = read(response)?;
    Err(Error::Refused(refusal["message"].as_str().unwrap_or_default().to_owned()))
}

fn read<T: for<'a> Deserialize<'a>>(response: &Response) -> Result<T, Error> {
    serde_json::from_slice(&response.body).map_err(|error| json_fault(&response.body, &error))
}

/// Why a body is no JSON, in the words of Go for what servers without the v2 API answer.
pub(super) fn json_fault(body: &[u8], error: &serde_json::Error) -> Error {
    let Some(start) = body.iter().position(|byte| !byte.is_ascii_whitespace()) else {
        return Error::Text("unexpected end of JSON input".to_owned());
    };
    let first = body[start];
    if !first.is_ascii_digit() && !b"{[\"-tfn".contains(&first) {
        let first = char::from(first);
        let place = "looking for beginning of value";
        return Error::Text(format!("invalid character {first:?} {place}"));
    }
    // A status line such as "404 page not found" begins with a number.
    let text = String::from_utf8_lossy(&body[start..]);
    let rest = text.trim_start_matches(|c: char| c.is_ascii_digit()).trim_start();
    match rest.chars().next() {
        Some(next) if first.is_ascii_digit() => {
            Error::Text(format!("invalid character {next:?} after top-level value"))
        }
        _ => Error::Text(error.to_string()),
    }
}
