//! Random requests against a model that has none of the ways of the store: nested maps, walked from the
//! root for everything, and a list of all events.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use quoin_api::etcdserverpb::Request;

use super::json::check_round_trip;
use super::{event_line, outcome};
use crate::v2::{
    V2Action, V2Error, V2ErrorCode, V2Event, V2Node, V2Outcome, V2Store, V2Watch, V2WatchHub,
    V2WatchOptions,
};

/// The second that a time in requests is about.
const DAY_ONE_NS: i64 = 1_700_000_000_000_000_000;

#[derive(Clone, Default)]
struct ModelNode {
    created: u64,
    modified: u64,
    ends: Option<i64>,
    value: Vec<u8>,
    /// Present for directories.
    children: Option<BTreeMap<String, Self>>,
}

struct Model {
    root: ModelNode,
    index: u64,
    events: Vec<V2Event>,
    /// How many of `create`, `set` and so on succeeded and failed.
    counts: BTreeMap<&'static str, (u64, u64)>,
}

type Names = Vec<String>;

/// The names of a path, cleaned by the book: component by component.
fn names(path: &str) -> Names {
    let mut names = Names::new();
    for name in path.split('/').filter(|name| !name.is_empty() && *name != ".") {
        if name == ".." {
            names.pop();
        } else {
            names.push(name.to_owned());
        }
    }
    names
}

fn join(names: &[String]) -> String {
    format!("/{}", names.join("/"))
}

impl ModelNode {
    fn directory(index: u64) -> Self {
        let children = Some(BTreeMap::new());
        Self { created: index, modified: index, children, ..Self::default() }
    }

    fn shown(&self, key: &str) -> V2Node {
        V2Node {
            key: Bytes::copy_from_slice(key.as_bytes()),
            value: self.children.is_none().then(|| Bytes::copy_from_slice(&self.value)),
            dir: self.children.is_some(),
            expiration_ns: self.ends,
            modified_index: self.modified,
            created_index: self.created,
        }
    }

    fn walk(&self, path: &str, visit: &mut impl FnMut(&str, &Self)) {
        visit(if path.is_empty() { "/" } else { path }, self);
        for (name, child) in self.children.iter().flatten() {
            child.walk(&format!("{path}/{name}"), visit);
        }
    }

    fn list(&self, path: &str, recursive: bool, listed: &mut Vec<V2Node>) {
        for (name, child) in
            self.children.iter().flatten().filter(|(name, _)| !name.starts_with('_'))
        {
            let path = format!("{path}/{name}");
            listed.push(child.shown(&path));
            if recursive {
                child.list(&path, true, listed);
            }
        }
    }
}

impl Model {
    fn new() -> Self {
        let mut root = ModelNode::directory(0);
        let children = root.children.as_mut().unwrap();
        children.insert("0".into(), ModelNode::directory(0));
        children.insert("1".into(), ModelNode::directory(0));
        Self { root, index: 0, events: Vec::new(), counts: BTreeMap::new() }
    }

    fn error(&self, code: V2ErrorCode, cause: impl Into<Vec<u8>>) -> V2Error {
        V2Error { code, cause: Bytes::from(cause.into()), index: self.index }
    }

    fn find(&self, path: &[String]) -> Result<&ModelNode, V2Error> {
        let mut node = &self.root;
        for (at, name) in path.iter().enumerate() {
            let Some(children) = &node.children else {
                return Err(self.error(V2ErrorCode::NotDir, join(&path[..at])));
            };
            node = children
                .get(name)
                .ok_or_else(|| self.error(V2ErrorCode::KeyNotFound, join(&path[..=at])))?;
        }
        Ok(node)
    }

    fn find_mut(&mut self, path: &[String]) -> &mut ModelNode {
        path.iter().fold(&mut self.root, |node, name| {
            node.children.as_mut().unwrap().get_mut(name).unwrap()
        })
    }

    fn count(&mut self, what: &'static str, success: bool) {
        let (succeeded, failed) = self.counts.entry(what).or_default();
        *(if success { succeeded } else { failed }) += 1;
    }

    fn check_not_top(&self, path: &[String]) -> Result<(), V2Error> {
        if ["/", "/0", "/1"].contains(&&join(path)[..]) {
            return Err(self.error(V2ErrorCode::RootReadOnly, "/"));
        }
        Ok(())
    }

    fn record(&mut self, event: V2Event) -> V2Event {
        self.index += 1;
        self.events.push(event.clone());
        event
    }

    fn apply(&mut self, request: &Request) -> Result<V2Outcome, V2Error> {
        let raw = std::str::from_utf8(&request.path).unwrap();
        let path = names(raw);
        let compares = request.prev_index > 0 || !request.prev_value.is_empty();
        let event = match (&request.method[..], request.prev_exist) {
            ("SYNC", _) => {
                self.sync(request.time);
                return Ok(V2Outcome::None);
            }
            ("QGET", _) => {
                let success = self.find(&path).is_ok();
                self.count("get", success);
                return Ok(V2Outcome::Read);
            }
            ("POST", _) => self.create(names(&format!("{raw}/{:020}", self.index + 1)), request),
            ("PUT", Some(false)) => self.create(path, request),
            ("PUT", Some(true)) if !compares => self.update(&path, request),
            ("PUT", _) if compares => self.swap(&path, request),
            ("PUT", _) => self.set(&path, raw, request),
            ("DELETE", _) if compares => self.compare_and_delete(&path, request),
            ("DELETE", _) => self.delete(&path, request),
            _ => return Ok(V2Outcome::None),
        };
        event.map(|event| V2Outcome::Event(event.into()))
    }

    fn place(
        &mut self,
        path: &[String],
        request: &Request,
        value: &[u8],
    ) -> Result<V2Node, V2Error> {
        self.check_not_top(path)?;
        let index = self.index + 1;
        let (name, above) = path.split_last().unwrap();
        for depth in 0..above.len() {
            match self.find(&above[..=depth]).map(|node| node.children.is_some()) {
                Ok(true) => {}
                Ok(false) => {
                    self.count("set", false);
                    return Err(self.error(V2ErrorCode::NotDir, join(&above[..=depth])));
                }
                Err(_) => {
                    let directory = ModelNode::directory(index);
                    let parent = self.find_mut(&above[..depth]);
                    parent.children.as_mut().unwrap().insert(above[depth].clone(), directory);
                }
            }
        }
        let ends = (request.expiration >= 946_684_800_000_000_000).then_some(request.expiration);
        let node = match request.dir {
            true => ModelNode { ends, ..ModelNode::directory(index) },
            false => ModelNode {
                ends,
                value: value.to_vec(),
                children: None,
                ..ModelNode::directory(index)
            },
        };
        let shown = node.shown(&join(path));
        self.find_mut(above).children.as_mut().unwrap().insert(name.clone(), node);
        Ok(shown)
    }

    fn create(&mut self, path: Names, request: &Request) -> Result<V2Event, V2Error> {
        let result = match self.find(&path) {
            Ok(_) if self.check_not_top(&path).is_ok() => {
                Err(self.error(V2ErrorCode::NodeExists, join(&path)))
            }
            _ => self.place(&path, request, &request.val),
        };
        self.count("create", result.is_ok());
        let node = result?;
        Ok(self.record(V2Event { action: V2Action::Create, node, prev_node: None, refresh: false }))
    }

    fn set(&mut self, path: &[String], raw: &str, request: &Request) -> Result<V2Event, V2Error> {
        let refresh = request.refresh == Some(true);
        let before = self.find(path).cloned();
        let result = match &before {
            Err(error) if refresh || error.code == V2ErrorCode::NotDir => Err(error.clone()),
            Ok(node) if node.children.is_some() && self.check_not_top(path).is_ok() => {
                Err(self.error(V2ErrorCode::NotFile, join(path)))
            }
            Ok(node) if refresh => self.place(path, request, &node.value),
            _ => self.place(path, request, &request.val),
        };
        self.count("set", result.is_ok());
        let prev_node = before.ok().map(|node| node.shown(raw));
        let node = result?;
        Ok(self.record(V2Event { action: V2Action::Set, node, prev_node, refresh }))
    }

    fn change(&mut self, path: &[String], request: &Request, action: V2Action) -> V2Event {
        let index = self.index + 1;
        let refresh = request.refresh == Some(true);
        let node = self.find_mut(path);
        let prev_node = Some(node.shown(&join(path)));
        if node.children.is_none() {
            node.modified = index;
            node.value = if refresh { node.value.clone() } else { request.val.to_vec() };
        }
        node.ends = (request.expiration != 0).then_some(request.expiration);
        let mut node = node.shown(&join(path));
        node.modified_index = index;
        self.record(V2Event { action, node, prev_node, refresh })
    }

    fn update(&mut self, path: &[String], request: &Request) -> Result<V2Event, V2Error> {
        if let Err(error) = self.check_not_top(path) {
            self.count("update", true);
            return Err(error);
        }
        let is_directory = self.find(path).map(|node| node.children.is_some());
        self.count("update", is_directory.is_ok());
        if is_directory? && !request.val.is_empty() {
            return Err(self.error(V2ErrorCode::NotFile, join(path)));
        }
        Ok(self.change(path, request, V2Action::Update))
    }

    fn compare(&self, path: &[String], request: &Request) -> Result<(), V2Error> {
        let node = self.find(path)?;
        if node.children.is_some() {
            return Err(self.error(V2ErrorCode::NotFile, join(path)));
        }
        let mut causes = Vec::new();
        if !request.prev_value.is_empty() && request.prev_value != node.value {
            let text = |bytes| std::str::from_utf8(bytes).unwrap();
            causes.push(format!("[{} != {}]", text(&request.prev_value), text(&node.value)));
        }
        if request.prev_index != 0 && request.prev_index != node.modified {
            causes.push(format!("[{} != {}]", request.prev_index, node.modified));
        }
        if causes.is_empty() {
            Ok(())
        } else {
            Err(self.error(V2ErrorCode::TestFailed, causes.join(" ")))
        }
    }

    fn swap(&mut self, path: &[String], request: &Request) -> Result<V2Event, V2Error> {
        if let Err(error) = self.check_not_top(path) {
            self.count("swap", true);
            return Err(error);
        }
        let compared = self.compare(path, request);
        self.count("swap", compared.is_ok());
        compared?;
        Ok(self.change(path, request, V2Action::CompareAndSwap))
    }

    fn take(&mut self, path: &[String], action: V2Action) -> V2Event {
        let (name, above) = path.split_last().unwrap();
        let node = self.find_mut(above).children.as_mut().unwrap().remove(name).unwrap();
        let before = node.shown(&join(path));
        let node = V2Node {
            value: None,
            expiration_ns: None,
            modified_index: self.index + 1,
            ..before.clone()
        };
        self.record(V2Event { action, node, prev_node: Some(before), refresh: false })
    }

    fn delete(&mut self, path: &[String], request: &Request) -> Result<V2Event, V2Error> {
        if let Err(error) = self.check_not_top(path) {
            self.count("delete", true);
            return Err(error);
        }
        let refused = match self.find(path) {
            Err(error) => Some(error),
            Ok(ModelNode { children: Some(children), .. }) if !request.recursive => {
                let code =
                    if !request.dir { V2ErrorCode::NotFile } else { V2ErrorCode::DirNotEmpty };
                (!request.dir || !children.is_empty()).then(|| self.error(code, join(path)))
            }
            Ok(_) => None,
        };
        self.count("delete", refused.is_none());
        refused.map_or_else(|| Ok(self.take(path, V2Action::Delete)), Err)
    }

    fn compare_and_delete(
        &mut self,
        path: &[String],
        request: &Request,
    ) -> Result<V2Event, V2Error> {
        let found = self.find(path).is_ok();
        self.count("compare_and_delete", found);
        self.compare(path, request)?;
        Ok(self.take(path, V2Action::CompareAndDelete))
    }

    fn sync(&mut self, time_ns: i64) {
        loop {
            let mut ended = Vec::new();
            self.root.walk("", &mut |path, node| {
                ended.extend(
                    node.ends.filter(|ends| *ends <= time_ns).map(|ends| (ends, names(path))),
                );
            });
            let Some((_, path)) = ended.into_iter().min() else { return };
            self.take(&path, V2Action::Expire);
            self.count("expire", true);
        }
    }

    fn all(&self) -> Vec<V2Node> {
        let mut all = Vec::new();
        self.root.walk("", &mut |path, node| all.push(node.shown(path)));
        all
    }

    fn paths(&self) -> BTreeSet<Names> {
        self.all().iter().map(|node| names(std::str::from_utf8(&node.key).unwrap())).collect()
    }
}

/// A watcher, and the path it watches.
struct ModelWatcher {
    path: Names,
    options: V2WatchOptions,
    since: u64,
    id: u64,
}

impl ModelWatcher {
    /// How often the watcher hears of an event that took some paths away.
    fn hears(&self, event: &V2Event, removed: &BTreeSet<Names>) -> usize {
        let key = names(std::str::from_utf8(&event.node.key).unwrap());
        if event.refresh || event.node.modified_index < self.since {
            return 0;
        }
        let is_above = key.starts_with(&self.path);
        let is_hidden = is_above && key[self.path.len()..].iter().any(|name| name.starts_with('_'));
        let by_path = is_above && !is_hidden && (self.options.recursive || key == self.path);
        let times = usize::from(removed.contains(&self.path)) + usize::from(by_path);
        if self.options.stream { times } else { times.min(1) }
    }

    fn finds(&self, event: &V2Event) -> bool {
        let key = std::str::from_utf8(&event.node.key).unwrap();
        let path = join(&self.path);
        let is_removal = matches!(event.action, V2Action::Delete | V2Action::Expire);
        let own = names(key) == self.path
            || self.options.recursive && names(key).starts_with(&self.path)
            || is_removal && event.node.dir && path.starts_with(key);
        event.index() >= self.since && !event.refresh && own
    }
}

/// What a test does.
#[derive(Clone, Debug)]
enum Step {
    Apply(Request),
    Watch(V2WatchOptions),
    Cancel(usize),
}

fn path() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        4 => Just("a"), 3 => Just("b"), 2 => Just("_h"), 2 => Just("ab"), 1 => Just("a.b"),
        1 => Just("."), 1 => Just(".."), 1 => Just(""), 1 => Just("a\0"), 1 => Just("\u{1}"),
    ];
    let top = prop_oneof![8 => Just("/1"), 1 => Just("/0"), 1 => Just("/2"), 1 => Just("1"), 1 => Just("")];
    (top, vec(name, 0..4))
        .prop_map(|(top, names)| names.iter().fold(top.to_owned(), |path, name| path + "/" + name))
}

fn time_ns() -> impl Strategy<Value = i64> {
    prop_oneof![
        8 => Just(0),
        8 => (0..20_i64).prop_map(|at| DAY_ONE_NS + at),
        1 => Just(1),
        1 => Just(i64::MIN),
        1 => Just(-5),
    ]
}

fn request() -> impl Strategy<Value = Request> {
    let method = prop_oneof![
        10 => Just("PUT"), 2 => Just("POST"), 5 => Just("DELETE"), 1 => Just("QGET"), 1 => Just("SYNC"),
        1 => Just("HEAD"),
    ];
    let value = || prop_oneof![3 => Just(""), 2 => Just("x"), 1 => Just("y")];
    let index = prop_oneof![4 => Just(0), 1 => 1..30_u64];
    let exists = option::weighted(0.4, any::<bool>());
    let flags = (weighted(0.3), weighted(0.3), weighted(0.2));
    (method, path(), value(), value(), index, exists, time_ns(), flags).prop_map(
        |(
            method,
            path,
            val,
            prev_value,
            prev_index,
            prev_exist,
            expiration,
            (dir, recursive, refresh),
        )| {
            Request {
                method: method.to_owned(),
                path: Bytes::from(path),
                val: Bytes::from_static(val.as_bytes()),
                prev_value: Bytes::from_static(prev_value.as_bytes()),
                prev_index,
                prev_exist,
                expiration,
                time: expiration,
                dir,
                recursive,
                refresh: Some(refresh),
                ..Request::default()
            }
        },
    )
}

fn weighted(probability: f64) -> impl Strategy<Value = bool> {
    proptest::bool::weighted(probability)
}

fn step() -> impl Strategy<Value = Step> {
    let since = prop_oneof![2 => Just(0), 1 => 1..40_u64];
    let watch = (path(), any::<bool>(), any::<bool>(), since).prop_map(
        |(path, recursive, stream, since)| {
            Step::Watch(V2WatchOptions { path: Bytes::from(path), recursive, stream, since })
        },
    );
    prop_oneof![8 => request().prop_map(Step::Apply), 2 => watch, 1 => any::<usize>().prop_map(Step::Cancel)]
}

/// A store beside its model, and watchers beside theirs.
struct Pair {
    store: V2Store,
    hub: V2WatchHub,
    model: Model,
    watchers: Vec<ModelWatcher>,
}

impl Pair {
    fn apply(&mut self, request: &Request) {
        let mut before = self.model.paths();
        let known = self.model.events.len();
        let expected = self.model.apply(request);
        let result = self.store.apply(request);
        assert_eq!(outcome(&result), outcome(&expected), "{request:?}");
        let notices = self.store.take_notices();
        let events: Vec<String> = notices.iter().map(|notice| event_line(&notice.event)).collect();
        let model: Vec<String> = self.model.events[known..].iter().map(event_line).collect();
        assert_eq!(events, model, "{request:?}");
        for notice in notices {
            let event = &notice.event;
            let key = names(std::str::from_utf8(&event.node.key).unwrap());
            let is_removal = matches!(
                event.action,
                V2Action::Delete | V2Action::Expire | V2Action::CompareAndDelete
            );
            let (removed, rest): (BTreeSet<_>, BTreeSet<_>) =
                before.into_iter().partition(|path| is_removal && path.starts_with(&key));
            before = rest;
            assert_eq!(notice.removed.len(), removed.len());
            let mut deliveries = Vec::new();
            self.hub.notify(&notice, &mut deliveries);
            let mut heard: Vec<u64> = deliveries.iter().map(|delivery| delivery.watcher).collect();
            heard.sort_unstable();
            let times = |watcher: &ModelWatcher| watcher.hears(event, &removed);
            let expected: Vec<u64> = self
                .watchers
                .iter()
                .flat_map(|watcher| std::iter::repeat_n(watcher.id, times(watcher)))
                .collect();
            assert_eq!(heard, expected, "{}", event_line(event));
            self.watchers.retain(|watcher| watcher.options.stream || times(watcher) == 0);
        }
        assert_eq!(self.hub.len(), self.watchers.len());
    }

    fn watch(&mut self, options: &V2WatchOptions) {
        let path = names(std::str::from_utf8(&options.path).unwrap());
        let since = if options.since == 0 { self.model.index + 1 } else { options.since };
        let mut watcher = ModelWatcher { path, options: options.clone(), since, id: 0 };
        let expected = self.model.events.iter().find(|event| watcher.finds(event));
        match self.hub.watch(options.clone(), self.store.index()).unwrap() {
            V2Watch::Found(event) => assert_eq!(Some(&*event), expected),
            V2Watch::Waits(id) => {
                assert_eq!(None, expected);
                watcher.id = id;
                self.watchers.push(watcher);
            }
        }
    }

    /// Compares all that can be read.
    fn check(&self) {
        let view = self.store.view();
        let rows: Vec<V2Node> = view
            .rows(None)
            .map(|row| V2Node {
                key: row.path,
                dir: row.value.is_none(),
                value: row.value,
                expiration_ns: row.expiration_ns,
                modified_index: row.modified_index,
                created_index: row.created_index,
            })
            .collect();
        assert_eq!(rows, self.model.all());
        assert_eq!(view.has_expiring(), rows.iter().any(|node| node.expiration_ns.is_some()));
        for node in &rows {
            for recursive in [false, true] {
                let key = std::str::from_utf8(&node.key).unwrap();
                let mut listed = Vec::new();
                let found = self.model.find(&names(key)).unwrap();
                found.list(if key == "/" { "" } else { key }, recursive, &mut listed);
                let listing = view.get(&node.key, recursive).unwrap();
                assert_eq!((&listing.node, listing.below), (node, listed));
            }
        }
        let count = |what| self.model.counts.get(what).copied().unwrap_or_default();
        let stats = view.stats();
        let counts = [
            ("get", (stats.get_success, stats.get_fail)),
            ("set", (stats.set_success, stats.set_fail)),
            ("delete", (stats.delete_success, stats.delete_fail)),
            ("update", (stats.update_success, stats.update_fail)),
            ("create", (stats.create_success, stats.create_fail)),
            ("swap", (stats.compare_and_swap_success, stats.compare_and_swap_fail)),
            ("expire", (stats.expire_count, 0)),
            (
                "compare_and_delete",
                (stats.compare_and_delete_success, stats.compare_and_delete_fail),
            ),
        ];
        for (what, counted) in counts {
            assert_eq!(counted, count(what), "{what}");
        }
        check_round_trip(&self.store);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(64)
    })]

    #[test]
    fn store_and_watchers_follow_the_model(steps in vec(step(), 1..80)) {
        let store = V2Store::new();
        let hub = V2WatchHub::new(&store);
        let mut pair = Pair { store, hub, model: Model::new(), watchers: Vec::new() };
        for step in &steps {
            match step {
                Step::Apply(request) => pair.apply(request),
                Step::Watch(options) => pair.watch(options),
                Step::Cancel(which) => {
                    if !pair.watchers.is_empty() {
                        let gone = pair.watchers.remove(which % pair.watchers.len());
                        pair.hub.cancel(gone.id);
                    }
                }
            }
        }
        pair.check();
        // What was read back goes on as the original does.
        let mut again = V2Store::from_json(&pair.store.view().to_json()).unwrap();
        for step in &steps {
            if let Step::Apply(request) = step {
                assert_eq!(outcome(&again.apply(request)), outcome(&pair.store.apply(request)));
            }
        }
        prop_assert_eq!(again.view().to_json(), pair.store.view().to_json());
    }
}
