//! Who may do what in the v2 API.
//!
//! Users, roles and whether they count are files below `/2`, written by the very requests that etcd
//! makes, so members that run etcd and ours agree. Every question looks at the view of this member,
//! and counts as a read, as in etcd.
//!
//! Passwords are hashed with bcrypt on threads for such work, [`HASHES_AT_ONCE`] at a time.

use std::sync::atomic::Ordering;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{Method, StatusCode};
use quoin_api::error::Error;
use quoin_api::etcdserverpb::Request;
use quoin_store::{V2ErrorCode, V2Listing};

use super::error::KeyError;
use super::json::Json;
use super::listing::Reading;
use super::users::{GUEST, ROOT, Role, User};
use super::{Done, V2, path};
use crate::log;

/// Passwords that are hashed at once; each takes a processor for a tenth of a second.
pub(super) const HASHES_AT_ONCE: usize = 2;
/// The work that a hash takes, as in etcd.
const BCRYPT_COST: u32 = 10;
/// Where users and roles are in the store.
const PREFIX: &str = "/2";

/// Why something about users or roles was not done.
#[derive(Debug)]
pub(super) enum AuthError {
    /// A rule of users and roles; the text lacks etcd's `auth: `.
    Rule(StatusCode, Vec<u8>),
    /// The store refused, or was not reached.
    Key(KeyError),
    /// What is stored cannot be read, or a password cannot be hashed.
    Internal,
}

type Outcome<T> = Result<T, AuthError>;

fn rule(status: StatusCode, text: impl Into<Vec<u8>>) -> AuthError {
    AuthError::Rule(status, text.into())
}

/// Returns the error about a user or role of this name.
fn named(status: StatusCode, before: &str, name: &[u8], after: &str) -> AuthError {
    rule(status, [before.as_bytes(), name, after.as_bytes()].concat())
}

/// What `error` becomes if it is `code`.
fn or_rule(error: KeyError, code: V2ErrorCode, rule: impl FnOnce() -> AuthError) -> AuthError {
    if error.is(code) { rule() } else { AuthError::Key(error) }
}

/// How something is read: from the view of this member, or through consensus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Read {
    Local,
    Quorum,
}

impl V2 {
    /// Whether users and roles count.
    pub(super) fn is_auth_enabled(&self) -> bool {
        let Ok(Reading { listing, .. }) = self.read(format!("{PREFIX}/enabled").as_bytes(), false)
        else {
            return false;
        };
        let value = listing.node.value.unwrap_or_default();
        Json::parse(&value) == Ok(Json::Bool(true))
    }

    /// Whether this request may change members, users and roles.
    pub(super) async fn has_root_access(&self, parts: &Parts) -> bool {
        if !self.is_auth_enabled() {
            return true;
        }
        let Some(user) = self.user_of(parts).await else { return false };
        let has_root = user.roles.iter().flatten().any(|role| role == ROOT);
        if !has_root {
            log::warn!("a user does not have root role for resource",
                "root-user" => user.name, "root-role-name" => ROOT,
                "resource-path" => parts.uri.path().to_owned());
        }
        has_root
    }

    /// Whether this request may read or write a key.
    pub(super) async fn may_access_key(&self, parts: &Parts, key: &[u8], recursive: bool) -> bool {
        if !self.is_auth_enabled() {
            return true;
        }
        let writes = !matches!(parts.method, Method::GET | Method::HEAD);
        let key_text = || String::from_utf8_lossy(key).into_owned();
        if authorization(parts).is_empty() {
            // A guest may list what he may read, also recursively, as in etcd.
            let Ok(guest) = self.role(GUEST.as_bytes(), Read::Local).await else { return false };
            let may = guest.may_access(key, writes);
            if !may {
                log::warn!("invalid access for a guest role on key",
                    "role-name" => GUEST, "key" => key_text());
            }
            return may;
        }
        let Some(user) = self.user_of(parts).await else { return false };
        for name in user.roles.iter().flatten() {
            let Ok(role) = self.role(name.as_bytes(), Read::Local).await else { continue };
            let may = match recursive {
                true => role.may_access_below(key, writes),
                false => role.may_access(key, writes),
            };
            if may {
                return true;
            }
        }
        log::warn!("invalid access for user on key", "user-name" => user.name, "key" => key_text());
        false
    }

    /// Returns who this request says it is from, if the password is right.
    async fn user_of(&self, parts: &Parts) -> Option<User> {
        let Some((name, password)) = credentials(authorization(parts)) else {
            log::warn!("malformed basic auth encoding");
            return None;
        };
        let user = self.user(&name, Read::Local).await.ok()?;
        let hash = user.password.clone();
        let checked = self.hashed(move || bcrypt::verify(password, &hash).unwrap_or(false)).await;
        if checked != Some(true) {
            let name = String::from_utf8_lossy(&name).into_owned();
            log::warn!("incorrect password", "user-name" => name);
            return None;
        }
        Some(user)
    }

    /// Runs work with passwords where it holds nobody up.
    async fn hashed<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let _permit = self.hashing.acquire().await.ok()?;
        tokio::task::spawn_blocking(work).await.ok()
    }

    async fn hash(&self, password: &str) -> Outcome<String> {
        // What is behind 72 bytes does not count, as in etcd 3.4.
        let password = password.to_owned();
        let hashed = self.hashed(move || bcrypt::hash_with_result(password, BCRYPT_COST)).await;
        let parts = hashed.and_then(Result::ok).ok_or(AuthError::Internal)?;
        Ok(parts.format_for_version(bcrypt::Version::TwoA))
    }

    /// Returns the names of all users, sorted.
    pub(super) fn user_names(&self) -> Outcome<Vec<Vec<u8>>> {
        self.names("users")
    }

    /// Returns the names of all roles, sorted.
    pub(super) fn role_names(&self) -> Outcome<Vec<Vec<u8>>> {
        let mut names = self.names("roles")?;
        names.push(ROOT.into());
        names.sort();
        Ok(names)
    }

    fn names(&self, kind: &str) -> Outcome<Vec<Vec<u8>>> {
        let listing = match self.read(format!("{PREFIX}/{kind}").as_bytes(), false) {
            Ok(reading) => reading.listing,
            Err(error) if error.is(V2ErrorCode::KeyNotFound) => return Ok(Vec::new()),
            Err(error) => return Err(AuthError::Key(error)),
        };
        let name = |key: &Bytes| {
            let begin = key.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
            key[begin..].to_vec()
        };
        let mut names: Vec<Vec<u8>> = listing.below.iter().map(|node| name(&node.key)).collect();
        names.sort();
        Ok(names)
    }

    /// Returns a user as this member knows it.
    pub(super) async fn known_user(&self, name: &[u8]) -> Outcome<User> {
        self.user(name, Read::Local).await
    }

    /// Returns a role as this member knows it.
    pub(super) async fn known_role(&self, name: &[u8]) -> Outcome<Role> {
        self.role(name, Read::Local).await
    }

    async fn user(&self, name: &[u8], read: Read) -> Outcome<User> {
        let value = self.resource("users", name, read).await.map_err(|error| {
            let status = StatusCode::NOT_FOUND;
            or_rule(error, V2ErrorCode::KeyNotFound, || {
                named(status, "User ", name, " does not exist.")
            })
        })?;
        let json = Json::parse(&value).map_err(|_| AuthError::Internal)?;
        User::read(&json).map(User::with_root).ok_or(AuthError::Internal)
    }

    async fn role(&self, name: &[u8], read: Read) -> Outcome<Role> {
        if name == ROOT.as_bytes() {
            return Ok(Role::root());
        }
        let value = self.resource("roles", name, read).await.map_err(|error| {
            let status = StatusCode::NOT_FOUND;
            or_rule(error, V2ErrorCode::KeyNotFound, || {
                named(status, "Role ", name, " does not exist.")
            })
        })?;
        let json = Json::parse(&value).map_err(|_| AuthError::Internal)?;
        Role::read(&json).ok_or(AuthError::Internal)
    }

    /// Makes a user or changes one. Returns whether it is new.
    pub(super) async fn create_or_update_user(&self, user: User) -> Outcome<(User, bool)> {
        match self.user(user.name.as_bytes(), Read::Quorum).await {
            Ok(_) => Ok((self.update_user(user).await?, false)),
            Err(_) => Ok((self.create_user(user).await?, true)),
        }
    }

    /// Makes a user.
    pub(super) async fn create_user(&self, user: User) -> Outcome<User> {
        let mut user = user.with_root();
        if user.password.is_empty() {
            let name = user.name.as_bytes();
            let (before, after) = ("Cannot create user ", " with an empty password");
            return Err(named(StatusCode::BAD_REQUEST, before, name, after));
        }
        user.password = self.hash(&user.password).await?;
        let mut json = Vec::new();
        user.push(&mut json);
        self.put("users", &user.name, json, false).await.map_err(|error| {
            or_rule(error, V2ErrorCode::NodeExists, || {
                named(StatusCode::CONFLICT, "User ", user.name.as_bytes(), " already exists.")
            })
        })?;
        log::info!("created a user", "user-name" => user.name.clone());
        Ok(user)
    }

    /// Changes a user.
    pub(super) async fn update_user(&self, mut change: User) -> Outcome<User> {
        let old = self.user(change.name.as_bytes(), Read::Quorum).await?;
        if old.name != change.name {
            let names = format!("{} {}", old.name, change.name);
            let text = format!("Merging user data with conflicting usernames: {names}");
            return Err(rule(StatusCode::CONFLICT, text));
        }
        if !change.password.is_empty() {
            change.password = self.hash(&change.password).await?;
        }
        let merged = old.merge(&change).map_err(|text| rule(StatusCode::CONFLICT, text))?;
        if merged == old {
            let text = "User not updated. Use grant/revoke/password to update the user.";
            return Err(rule(StatusCode::BAD_REQUEST, text));
        }
        let mut json = Vec::new();
        merged.push(&mut json);
        self.put("users", &change.name, json, true).await.map_err(AuthError::Key)?;
        log::info!("updated a user", "user-name" => change.name);
        Ok(merged)
    }

    /// Removes a user.
    pub(super) async fn delete_user(&self, name: &[u8]) -> Outcome<()> {
        if self.is_auth_enabled() && name == ROOT.as_bytes() {
            let text = "Cannot delete root user while auth is enabled.";
            return Err(rule(StatusCode::FORBIDDEN, text));
        }
        self.delete("users", name).await.map_err(|error| {
            or_rule(error, V2ErrorCode::KeyNotFound, || {
                named(StatusCode::NOT_FOUND, "User ", name, " does not exist")
            })
        })?;
        log::info!("deleted a user", "user-name" => String::from_utf8_lossy(name).into_owned());
        Ok(())
    }

    /// Makes a role.
    pub(super) async fn create_role(&self, role: &Role) -> Outcome<()> {
        check_not_root(role.name.as_bytes())?;
        let mut json = Vec::new();
        role.push(&mut json);
        self.put("roles", &role.name, json, false).await.map_err(|error| {
            or_rule(error, V2ErrorCode::NodeExists, || {
                named(StatusCode::CONFLICT, "Role ", role.name.as_bytes(), " already exists.")
            })
        })?;
        log::info!("created a new role", "role-name" => role.name.clone());
        Ok(())
    }

    /// Changes a role.
    pub(super) async fn update_role(&self, change: &Role) -> Outcome<Role> {
        check_not_root(change.name.as_bytes())?;
        let old = self.role(change.name.as_bytes(), Read::Quorum).await?;
        if old.name != change.name {
            let names = format!("{} {}", old.name, change.name);
            let text = format!("Merging role with conflicting names: {names}");
            return Err(rule(StatusCode::CONFLICT, text));
        }
        let merged = old.merge(change).map_err(|text| rule(StatusCode::CONFLICT, text))?;
        if merged == old {
            let text = "Role not updated. Use grant/revoke to update the role.";
            return Err(rule(StatusCode::BAD_REQUEST, text));
        }
        let mut json = Vec::new();
        merged.push(&mut json);
        self.put("roles", &change.name, json, true).await.map_err(AuthError::Key)?;
        log::info!("updated a new role", "role-name" => change.name.clone());
        Ok(merged)
    }

    /// Removes a role.
    pub(super) async fn delete_role(&self, name: &[u8]) -> Outcome<()> {
        check_not_root(name)?;
        self.delete("roles", name).await.map_err(|error| {
            or_rule(error, V2ErrorCode::KeyNotFound, || {
                named(StatusCode::NOT_FOUND, "Role ", name, " doesn't exist.")
            })
        })?;
        log::info!("delete a new role", "role-name" => String::from_utf8_lossy(name).into_owned());
        Ok(())
    }

    /// Lets users and roles count from now on.
    pub(super) async fn enable_auth(&self) -> Outcome<()> {
        if self.is_auth_enabled() {
            return Err(rule(StatusCode::CONFLICT, "already enabled"));
        }
        if self.user(ROOT.as_bytes(), Read::Quorum).await.is_err() {
            let text = "No root user available, please create one";
            return Err(rule(StatusCode::CONFLICT, text));
        }
        if self.role(GUEST.as_bytes(), Read::Quorum).await.is_err() {
            log::info!("no guest role access found; creating default", "role-name" => GUEST);
            self.create_role(&Role::guest()).await?;
        }
        self.put_enabled(true).await?;
        log::info!("enabled auth");
        Ok(())
    }

    /// Lets everybody do everything again.
    pub(super) async fn disable_auth(&self) -> Outcome<()> {
        if !self.is_auth_enabled() {
            return Err(rule(StatusCode::CONFLICT, "already disabled"));
        }
        self.put_enabled(false).await?;
        log::info!("disabled auth");
        Ok(())
    }

    async fn put_enabled(&self, on: bool) -> Outcome<()> {
        let value = on.to_string().into_bytes();
        self.put("enabled", "", value, true).await.map_err(AuthError::Key)
    }

    async fn resource(&self, kind: &str, name: &[u8], read: Read) -> Result<Bytes, KeyError> {
        let path = resource_path(kind, name);
        let listing = match read {
            Read::Local => self.read(&path, false)?.listing,
            Read::Quorum => {
                let method = "QGET".to_owned();
                let request = Request { method, path: Bytes::from(path), ..Request::default() };
                match self.carry_out(request).await? {
                    Done::Read(reading) => reading.listing,
                    Done::Event(_) => return Err(KeyError::raft(Error::Stopped)),
                }
            }
        };
        let V2Listing { node, .. } = listing;
        Ok(node.value.unwrap_or_default())
    }

    async fn put(
        &self,
        kind: &str,
        name: &str,
        value: Vec<u8>,
        exists: bool,
    ) -> Result<(), KeyError> {
        self.ensure_auth_directories().await?;
        let path = resource_path(kind, name.as_bytes());
        self.carry_out(put_request(path, value, exists)).await.map(drop)
    }

    async fn delete(&self, kind: &str, name: &[u8]) -> Result<(), KeyError> {
        self.ensure_auth_directories().await?;
        let request = Request {
            method: "DELETE".to_owned(),
            path: Bytes::from(resource_path(kind, name)),
            prev_exist: Some(true),
            ..Request::default()
        };
        self.carry_out(request).await.map(drop)
    }

    /// Makes the directories of users and roles, once in the life of this process.
    async fn ensure_auth_directories(&self) -> Result<(), KeyError> {
        if self.has_auth_directories.load(Ordering::Relaxed) {
            return Ok(());
        }
        let mut requests: Vec<Request> = ["/2", "/2/users/", "/2/roles/"]
            .into_iter()
            .map(|path| Request { dir: true, ..put_request(path.into(), Vec::new(), false) })
            .collect();
        requests.push(put_request(b"/2/enabled".to_vec(), b"false".to_vec(), false));
        for request in requests {
            match self.carry_out(request).await {
                Err(error) if !error.is(V2ErrorCode::NodeExists) => {
                    let cause = String::from_utf8_lossy(&error.cause).into_owned();
                    log::warn!("failed to create auth directories", "error" => cause);
                    return Err(error);
                }
                Ok(_) | Err(_) => {}
            }
        }
        self.has_auth_directories.store(true, Ordering::Relaxed);
        Ok(())
    }
}

fn check_not_root(name: &[u8]) -> Outcome<()> {
    if name == ROOT.as_bytes() {
        let (before, after) = ("Cannot modify role ", ": is root role.");
        return Err(named(StatusCode::FORBIDDEN, before, name, after));
    }
    Ok(())
}

fn resource_path(kind: &str, name: &[u8]) -> Vec<u8> {
    path::join(PREFIX, &[kind.as_bytes(), b"/", name].concat())
}

fn put_request(path: Vec<u8>, value: Vec<u8>, exists: bool) -> Request {
    Request {
        method: "PUT".to_owned(),
        path: Bytes::from(path),
        val: Bytes::from(value),
        prev_exist: Some(exists),
        ..Request::default()
    }
}

fn authorization(parts: &Parts) -> &[u8] {
    parts.headers.get(AUTHORIZATION).map(|value| value.as_bytes()).unwrap_or_default()
}

/// Reads name and password of HTTP's basic authorization.
fn credentials(header: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    const SCHEME: &[u8] = b"Basic ";
    let (scheme, encoded) = header.split_at_checked(SCHEME.len())?;
    if !scheme.eq_ignore_ascii_case(SCHEME) {
        return None;
    }
    let decoded = STANDARD.decode(encoded).ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    Some((decoded[..colon].to_vec(), decoded[colon + 1..].to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_read_from_the_header() {
        let check = |header: &str, expected: Option<(&str, &str)>| {
            let expected = expected.map(|(name, password)| (name.into(), password.into()));
            assert_eq!(credentials(header.as_bytes()), expected, "{header}");
        };
        check("basic cm9vdDphOmI=", Some(("root", "a:b")));
        check("Basic cm9vdA==", None);
        check("Basic ?", None);
        check("Bearer cm9vdDph", None);
        check("", None);
    }

    #[test]
    fn a_hash_of_ours_has_the_form_that_etcd_writes() {
        let hash = bcrypt::hash_with_result("secret", 4).expect("it can be hashed");
        let text = hash.format_for_version(bcrypt::Version::TwoA);
        assert!(text.starts_with("$2a$04$"), "{text}");
        assert_eq!(bcrypt::verify("secret", &text).ok(), Some(true));
    }
}
