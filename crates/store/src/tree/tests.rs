use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::node::{MAX_LEAF_BYTES, MAX_WIDTH, Node, sum};
use super::{Builder, Count, Entry, Tree};

/// A value that is live when it is even.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Number(u32);

impl Entry for Number {
    type Column = Vec<Self>;

    fn is_live(&self) -> bool {
        self.0.is_multiple_of(2)
    }
}

type Model = BTreeMap<Vec<u8>, Number>;

#[derive(Clone, Debug)]
enum Step {
    Put(Vec<u8>, u32),
    Remove(Vec<u8>),
    Snapshot,
}

/// Keys that are prefixes of one another, with the extreme bytes, and sometimes long ones.
fn key() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![Just(0_u8), Just(0xff), Just(b'a'), Just(b'b'), Just(b'/')];
    prop_oneof![
        8 => vec(byte, 0..7),
        4 => (0_u32..3000).prop_map(|n| format!("/registry/pods/{n:05}").into_bytes()),
        1 => (0_u8..4, 900_usize..3000).prop_map(|(byte, length)| vec![byte; length]),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (key(), any::<u32>()).prop_map(|(key, value)| Step::Put(key, value)),
        5 => key().prop_map(Step::Remove),
        1 => Just(Step::Snapshot),
    ]
}

fn contents(tree: &Tree<Number>) -> Vec<(Vec<u8>, Number)> {
    tree.iter().map(|slot| (slot.key(), slot.value())).collect()
}

fn model_count(model: &Model, from: &[u8], end: Option<&[u8]>) -> Count {
    let wanted = |key: &[u8]| key >= from && end.is_none_or(|end| key < end);
    let values: Vec<_> = model.iter().filter(|(key, _)| wanted(key)).map(|(_, v)| v).collect();
    Count { total: values.len(), live: values.iter().filter(|value| value.is_live()).count() }
}

fn check_invariants(tree: &Tree<Number>) {
    let Some(root) = &tree.root else { return };
    let mut depths = Vec::new();
    check_node(root, 0, &mut depths);
    assert!(depths.windows(2).all(|pair| pair[0] == pair[1]), "leaves at depths {depths:?}");
    let keys: Vec<_> = tree.iter().map(|slot| slot.key()).collect();
    assert!(keys.windows(2).all(|pair| pair[0] < pair[1]), "keys are not ascending");
    for key in &keys {
        assert!(tree.get(key).is_some(), "{key:?} is not found from the root");
    }
}

fn check_node(node: &Node<Number>, depth: usize, depths: &mut Vec<usize>) {
    match node {
        Node::Leaf(leaf) => {
            assert_eq!(leaf.keys.len(), leaf.values.len());
            assert!(!leaf.values.is_empty(), "an empty leaf");
            assert!(leaf.values.len() <= MAX_WIDTH);
            let longest = (0..leaf.keys.len()).map(|at| leaf.keys.key(at).len()).max();
            assert!(leaf.keys.size() <= MAX_LEAF_BYTES + 2 * longest.unwrap_or(0));
            assert_eq!(leaf.live, leaf.values.iter().filter(|v| v.is_live()).count());
            depths.push(depth);
        }
        Node::Inner(inner) => {
            assert_eq!(inner.children.len(), inner.separators.len() + 1);
            assert_eq!(inner.children.len(), inner.counts.len());
            assert!(inner.children.len() <= MAX_WIDTH);
            for (child, count) in inner.children.iter().zip(&inner.counts) {
                assert_eq!(child.count(), *count);
                check_node(child, depth + 1, depths);
            }
            assert_eq!(sum(&inner.counts), node.count());
        }
    }
}

fn check(tree: &Tree<Number>, model: &Model, probes: &[Vec<u8>]) {
    check_invariants(tree);
    let expected: Vec<_> = model.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    assert_eq!(contents(tree), expected);
    for from in probes {
        assert_eq!(tree.get(from).as_ref(), model.get(from));
        let ends = probes.iter().map(|end| Some(end.as_slice())).chain([None]);
        for end in ends {
            assert_eq!(tree.count_range(from, end), model_count(model, from, end));
        }
    }
    for pair in probes.windows(2) {
        let (from, end) = (pair[0].as_slice(), pair[1].as_slice());
        let expected: Vec<_> = model
            .iter()
            .filter(|(key, _)| key.as_slice() >= from && key.as_slice() < end)
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        let slots = tree.range(from, Some(end));
        let found: Vec<_> = slots.map(|slot| (slot.key(), slot.value())).collect();
        assert_eq!(found, expected);
        let live: Vec<_> = expected.into_iter().filter(|(_, value)| value.is_live()).collect();
        let slots = tree.range(from, Some(end)).live_only();
        let found: Vec<_> = slots.map(|slot| (slot.key(), slot.value())).collect();
        assert_eq!(found, live);
        let position = tree.rank(from).live;
        let slots = tree.live_from(position, Some(end));
        let found: Vec<_> = slots.map(|slot| (slot.key(), slot.value())).collect();
        assert_eq!(found, live);
    }
}

fn run(steps: Vec<Step>, mut probes: Vec<Vec<u8>>) {
    let mut tree = Tree::<Number>::default();
    let mut model = Model::new();
    let mut snapshots = Vec::new();
    for step in steps {
        match step {
            Step::Put(key, value) => {
                let old = tree.upsert(&key, |slot| std::mem::replace(&mut slot.0, value));
                let before = model.insert(key, Number(value));
                assert_eq!(old, before.unwrap_or_default().0);
            }
            Step::Remove(key) => assert_eq!(tree.remove(&key), model.remove(&key)),
            Step::Snapshot => snapshots.push((tree.clone(), model.clone())),
        }
    }
    probes.extend([vec![], vec![0], vec![0xff; 8], b"/registry/pods/01500".to_vec()]);
    check(&tree, &model, &probes);
    for (tree, model) in snapshots {
        check(&tree, &model, &probes);
    }
    let mut builder = Builder::new();
    for (key, value) in &model {
        builder.push(key.clone(), value.clone());
    }
    check(&builder.finish(), &model, &probes);
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(32)
    })]

    #[test]
    fn behaves_like_a_map(steps in vec(step(), 0..600), probes in vec(key(), 0..12)) {
        run(steps, probes);
    }
}

#[test]
fn ascending_keys_leave_full_leaves() {
    let mut tree = Tree::<()>::default();
    for n in 0_u32..100_000 {
        tree.upsert(&n.to_be_bytes(), |()| ());
    }
    let mut leaves = 0;
    count_leaves(tree.root.as_ref().unwrap(), &mut leaves);
    assert!(leaves <= 100_000 / MAX_WIDTH + 1, "{leaves} leaves");
    for n in (0_u32..100_000).step_by(997) {
        assert_eq!(tree.rank(&n.to_be_bytes()).total, n as usize);
        let slot = tree.live_from(n as usize, None).next().unwrap();
        assert_eq!(slot.key(), n.to_be_bytes());
    }
}

fn count_leaves<V: Entry>(node: &Node<V>, leaves: &mut usize) {
    match node {
        Node::Leaf(_) => *leaves += 1,
        Node::Inner(inner) => inner.children.iter().for_each(|child| count_leaves(child, leaves)),
    }
}

#[test]
fn removing_everything_leaves_nothing() {
    let mut tree = Tree::<Number>::default();
    let keys: Vec<Vec<u8>> = (0..5000_u32).map(|n| format!("{n:x}").into_bytes()).collect();
    for (n, key) in (0..).zip(&keys) {
        tree.upsert(key, |value| value.0 = n);
    }
    for (n, key) in (0..).zip(&keys) {
        assert_eq!(tree.remove(key), Some(Number(n)));
        if n % 500 == 0 {
            check_invariants(&tree);
        }
    }
    assert!(tree.root.is_none());
    assert_eq!(tree.count(), Count::default());
}
