//! Users and roles of the v2 API: their JSON, how they are changed, and what a role allows.
//!
//! The JSON is etcd's to the byte, because a member that runs etcd reads it. So a list that is absent
//! (`null`) is told apart from an empty one.
//!
//! Not here: where they are kept, and passwords.

use std::collections::BTreeSet;

use quoin_store::push_json_string;

use super::json::Json;

/// The role that may do everything.
pub(super) const ROOT: &str = "root";
/// The role of those who do not say who they are.
pub(super) const GUEST: &str = "guest";

/// A list that may be absent.
pub(super) type List = Option<Vec<String>>;

/// A user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct User {
    pub(super) name: String,
    /// The hash of the password, or in a request the password itself; may be empty.
    pub(super) password: String,
    pub(super) roles: List,
    /// Roles to add.
    pub(super) grant: List,
    /// Roles to take away.
    pub(super) revoke: List,
}

/// A role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Role {
    pub(super) name: String,
    pub(super) permissions: Permissions,
    pub(super) grant: Option<Permissions>,
    pub(super) revoke: Option<Permissions>,
}

/// Patterns of keys that may be read and written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Permissions {
    pub(super) read: List,
    pub(super) write: List,
}

/// A change that contradicts what is there. The text lacks etcd's `auth: `.
pub(super) type Conflict = String;

pub(super) fn is_empty(list: &List) -> bool {
    list.as_ref().is_none_or(Vec::is_empty)
}

fn entries(list: &List) -> &[String] {
    list.as_deref().unwrap_or_default()
}

impl User {
    /// Reads a user. Nothing if a field is of the wrong kind.
    pub(super) fn read(json: &Json) -> Option<Self> {
        check_object(json)?;
        Some(Self {
            name: text(json, "user")?,
            password: text(json, "password")?,
            roles: list(json, "roles")?,
            grant: list(json, "grant")?,
            revoke: list(json, "revoke")?,
        })
    }

    pub(super) fn push(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"user\":");
        push_json_string(out, self.name.as_bytes());
        if !self.password.is_empty() {
            out.extend_from_slice(b",\"password\":");
            push_json_string(out, self.password.as_bytes());
        }
        out.extend_from_slice(b",\"roles\":");
        push_list(out, &self.roles);
        for (name, list) in [("grant", &self.grant), ("revoke", &self.revoke)] {
            if !is_empty(list) {
                out.extend_from_slice(format!(",\"{name}\":").as_bytes());
                push_list(out, list);
            }
        }
        out.push(b'}');
    }

    /// Gives the user `root` the role of that name.
    pub(super) fn with_root(mut self) -> Self {
        let has_root = entries(&self.roles).iter().any(|role| role == ROOT);
        if self.name == ROOT && !has_root {
            self.roles.get_or_insert_default().push(ROOT.to_owned());
        }
        self
    }

    /// Returns the user after a change, whose password is hashed already or empty.
    pub(super) fn merge(&self, change: &Self) -> Result<Self, Conflict> {
        let password = match change.password.as_str() {
            "" => &self.password,
            hash => hash,
        };
        let mut roles: BTreeSet<&str> = entries(&self.roles).iter().map(String::as_str).collect();
        for role in entries(&change.grant) {
            if !roles.insert(role) {
                return Err(format!("Granting duplicate role {role} for user {}", change.name));
            }
        }
        for role in entries(&change.revoke) {
            if !roles.remove(role.as_str()) {
                return Err(format!("Revoking ungranted role {role} for user {}", change.name));
            }
        }
        Ok(Self {
            name: self.name.clone(),
            password: password.to_owned(),
            roles: Some(roles.into_iter().map(str::to_owned).collect()),
            grant: None,
            revoke: None,
        })
    }
}

impl Role {
    /// The role that may do everything.
    pub(super) fn root() -> Self {
        Self { name: ROOT.to_owned(), permissions: Permissions::all(), ..Self::default() }
    }

    /// What everybody may do unless an operator says otherwise.
    pub(super) fn guest() -> Self {
        Self { name: GUEST.to_owned(), permissions: Permissions::all(), ..Self::default() }
    }

    /// Reads a role. Nothing if a field is of the wrong kind.
    pub(super) fn read(json: &Json) -> Option<Self> {
        check_object(json)?;
        let permissions = |name| match json.field(name) {
            None => Some(None),
            Some(json) => Permissions::read(json).map(Some),
        };
        Some(Self {
            name: text(json, "role")?,
            permissions: permissions("permissions")?.unwrap_or_default(),
            grant: permissions("grant")?,
            revoke: permissions("revoke")?,
        })
    }

    pub(super) fn push(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"role\":");
        push_json_string(out, self.name.as_bytes());
        out.extend_from_slice(b",\"permissions\":");
        self.permissions.push(out);
        for (name, permissions) in [("grant", &self.grant), ("revoke", &self.revoke)] {
            if let Some(permissions) = permissions {
                out.extend_from_slice(format!(",\"{name}\":").as_bytes());
                permissions.push(out);
            }
        }
        out.push(b'}');
    }

    /// Whether a change adds or takes away nothing, so that it is a new role.
    pub(super) fn is_new(&self) -> bool {
        [&self.grant, &self.revoke].into_iter().flatten().all(Permissions::is_empty)
    }

    /// Returns the role after a change.
    pub(super) fn merge(&self, change: &Self) -> Result<Self, Conflict> {
        let mut permissions = self.permissions.clone();
        if let Some(grant) = &change.grant {
            permissions = permissions.grant(grant)?;
        }
        if let Some(revoke) = &change.revoke {
            permissions = permissions.revoke(revoke);
        }
        Ok(Self { name: self.name.clone(), permissions, grant: None, revoke: None })
    }

    /// Whether the role may read or write one key.
    pub(super) fn may_access(&self, key: &[u8], writes: bool) -> bool {
        self.name == ROOT || self.permissions.of(writes).iter().any(|pattern| matches(pattern, key))
    }

    /// Whether the role may read or write a key and all below it.
    pub(super) fn may_access_below(&self, key: &[u8], writes: bool) -> bool {
        let mut patterns = self.permissions.of(writes).iter();
        self.name == ROOT || patterns.any(|pattern| pattern.ends_with('*') && matches(pattern, key))
    }
}

fn matches(pattern: &str, key: &[u8]) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => key.starts_with(prefix.as_bytes()),
        None => !pattern.is_empty() && key == pattern.as_bytes(),
    }
}

impl Permissions {
    fn all() -> Self {
        let all = Some(vec!["/*".to_owned()]);
        Self { read: all.clone(), write: all }
    }

    fn read(json: &Json) -> Option<Self> {
        check_object(json)?;
        let Some(kv) = json.field("kv") else { return Some(Self::default()) };
        check_object(kv)?;
        Some(Self { read: list(kv, "read")?, write: list(kv, "write")? })
    }

    fn push(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"kv\":{\"read\":");
        push_list(out, &self.read);
        out.extend_from_slice(b",\"write\":");
        push_list(out, &self.write);
        out.extend_from_slice(b"}}");
    }

    pub(super) fn is_empty(&self) -> bool {
        is_empty(&self.read) && is_empty(&self.write)
    }

    fn of(&self, writes: bool) -> &[String] {
        entries(if writes { &self.write } else { &self.read })
    }

    fn grant(&self, more: &Self) -> Result<Self, Conflict> {
        let add = |kind: &str, old: &List, new: &List| {
            let mut all: BTreeSet<String> = entries(old).iter().cloned().collect();
            for pattern in entries(new) {
                if !all.insert(pattern.clone()) {
                    return Err(format!("Granting duplicate {kind} permission {pattern}"));
                }
            }
            Ok(Some(all.into_iter().collect()))
        };
        Ok(Self {
            read: add("read", &self.read, &more.read)?,
            write: add("write", &self.write, &more.write)?,
        })
    }

    /// What was not granted is not missed.
    fn revoke(&self, less: &Self) -> Self {
        let remove = |old: &List, less: &List| {
            let mut all: BTreeSet<String> = entries(old).iter().cloned().collect();
            for pattern in entries(less) {
                all.remove(pattern);
            }
            Some(all.into_iter().collect())
        };
        Self { read: remove(&self.read, &less.read), write: remove(&self.write, &less.write) }
    }
}

fn check_object(json: &Json) -> Option<()> {
    matches!(json, Json::Object(_) | Json::Null).then_some(())
}

fn text(json: &Json, name: &str) -> Option<String> {
    match json.field(name) {
        None => Some(String::new()),
        Some(Json::Text(text)) => Some(text.clone()),
        Some(_) => None,
    }
}

fn list(json: &Json, name: &str) -> Option<List> {
    let values = match json.field(name) {
        None => return Some(None),
        Some(Json::Array(values)) => values,
        Some(_) => return None,
    };
    let texts = values.iter().map(|value| match value {
        Json::Text(text) => Some(text.clone()),
        Json::Null => Some(String::new()),
        _ => None,
    });
    texts.collect::<Option<Vec<String>>>().map(Some)
}

fn push_list(out: &mut Vec<u8>, list: &List) {
    let Some(texts) = list else { return out.extend_from_slice(b"null") };
    out.push(b'[');
    for (position, text) in texts.iter().enumerate() {
        if position > 0 {
            out.push(b',');
        }
        push_json_string(out, text.as_bytes());
    }
    out.push(b']');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(text: &str) -> Option<User> {
        User::read(&Json::parse(text.as_bytes()).expect("it is JSON"))
    }

    fn role(text: &str) -> Role {
        Role::read(&Json::parse(text.as_bytes()).expect("it is JSON")).expect("it is a role")
    }

    #[track_caller]
    fn check_user(given: &str, written: &str) {
        let mut out = Vec::new();
        user(given).expect("it is a user").push(&mut out);
        assert_eq!(String::from_utf8_lossy(&out), written);
    }

    #[test]
    fn a_user_is_written_as_etcd_does() {
        check_user("{\"user\":\"a\"}", "{\"user\":\"a\",\"roles\":null}");
        check_user(
            "{\"USER\":\"a\",\"password\":\"<\",\"roles\":[],\"grant\":[],\"x\":1}",
            "{\"user\":\"a\",\"password\":\"\\u003c\",\"roles\":[]}",
        );
        check_user(
            "{\"user\":\"a\",\"roles\":[\"r\",null],\"grant\":[\"b\"]}",
            "{\"user\":\"a\",\"roles\":[\"r\",\"\"],\"grant\":[\"b\"]}",
        );
        assert_eq!(user("{\"user\":1}"), None);
        assert_eq!(user("[]"), None);
    }

    #[test]
    fn a_role_is_written_as_etcd_does() {
        let given = "{\"role\":\"r\",\"permissions\":{\"kv\":{\"read\":[\"/a\"]}},\"grant\":{}}";
        let mut out = Vec::new();
        role(given).push(&mut out);
        assert_eq!(
            String::from_utf8_lossy(&out),
            "{\"role\":\"r\",\"permissions\":{\"kv\":{\"read\":[\"/a\"],\"write\":null}},\
             \"grant\":{\"kv\":{\"read\":null,\"write\":null}}}"
        );
    }

    #[test]
    fn roles_are_granted_once_and_revoked_once() {
        let bob = user("{\"user\":\"b\",\"password\":\"h\",\"roles\":[\"y\",\"x\"]}");
        let bob = bob.expect("it is a user");
        let merge = |change: &str| {
            let merged = bob.merge(&user(change).expect("it is a user"));
            merged.map(|user| (user.password, user.roles.unwrap_or_default().join(",")))
        };
        let change = "{\"user\":\"b\",\"grant\":[\"a\"],\"revoke\":[\"y\"]}";
        assert_eq!(merge(change), Ok(("h".to_owned(), "a,x".to_owned())));
        assert_eq!(
            merge("{\"user\":\"b\",\"grant\":[\"x\"]}"),
            Err("Granting duplicate role x for user b".to_owned())
        );
        assert_eq!(
            merge("{\"user\":\"b\",\"revoke\":[\"z\"]}"),
            Err("Revoking ungranted role z for user b".to_owned())
        );
    }

    #[test]
    fn permissions_are_granted_once() {
        let old = role("{\"role\":\"r\",\"permissions\":{\"kv\":{\"read\":[\"/b\",\"/a\"]}}}");
        let change = role("{\"grant\":{\"kv\":{\"read\":[\"/a\"]}}}");
        assert_eq!(old.merge(&change), Err("Granting duplicate read permission /a".to_owned()));
        let change = role(
            "{\"grant\":{\"kv\":{\"write\":[\"/c\"]}},\"revoke\":{\"kv\":{\"read\":[\"/b\",\"/z\"]}}}",
        );
        let merged = old.merge(&change).expect("nothing contradicts");
        assert_eq!(merged.permissions.read, Some(vec!["/a".to_owned()]));
        assert_eq!(merged.permissions.write, Some(vec!["/c".to_owned()]));
    }

    #[test]
    fn a_pattern_is_exact_or_a_prefix() {
        let allowed =
            role("{\"role\":\"r\",\"permissions\":{\"kv\":{\"read\":[\"/a\",\"/b*\",\"\"]}}}");
        assert!(allowed.may_access(b"/a", false));
        assert!(!allowed.may_access(b"/a/b", false));
        assert!(!allowed.may_access(b"/a", true));
        assert!(allowed.may_access(b"/bc", false));
        assert!(!allowed.may_access_below(b"/a", false));
        assert!(allowed.may_access_below(b"/b/c", false));
        assert!(!allowed.may_access(b"", false));
        assert!(Role::root().may_access_below(b"", true));
        assert!(!Role::guest().may_access(b"", true));
    }
}
