use quoin_api::etcdserverpb::{PutRequest, PutResponse, ResponseHeader};

use super::*;
use crate::workload::{Ask, Workload, entry};

/// Every story begins with two committed puts, 1 and 2, at the revisions 2 and 3. The first was
/// answered before the second was asked.
struct Story {
    history: History,
}

impl Story {
    fn begin() -> Self {
        let mut story = Self { history: History::new() };
        for id in 1..=2 {
            story.history.write_asked(id).unwrap();
            story.commit(id).unwrap();
            story.answer(id, id as i64 + 1).unwrap();
        }
        story
    }

    fn commit(&mut self, id: u64) -> Result<(), Impossible> {
        self.history.committed(EntryKind::Normal, &put(id))
    }

    fn answer(&mut self, id: u64, revision: i64) -> Result<(), Impossible> {
        let header = Some(ResponseHeader { revision, ..ResponseHeader::default() });
        let reply = Ok(Reply::Put(PutResponse { header, prev_kv: None }));
        self.history.write_answered(id, &reply)
    }

    /// Reads everything from the state after an entry.
    fn read(&mut self, read: u64, index: usize) -> Result<(), Impossible> {
        let request = Workload::everything();
        let response = self.history.model().range(&request, index);
        self.history.read_answered(read, index, &request, &response)
    }
}

fn put(id: u64) -> Bytes {
    let key = Bytes::from_static(b"key");
    let value = Bytes::from(id.to_string());
    let Ask::Write(request) = PutRequest { key, value, ..PutRequest::default() }.into() else {
        panic!("a put is a write");
    };
    entry(&request, id)
}

fn check_impossible(result: Result<(), Impossible>, reason: &str) {
    let text = result.expect_err(reason);
    assert!(text.contains(reason), "{text}");
}

#[test]
fn an_honest_history_is_accepted() {
    let mut story = Story::begin();
    story.history.read_asked(9);
    story.history.write_asked(3).unwrap();
    story.commit(3).unwrap();
    story.read(9, 2).unwrap();
    story.answer(3, 4).unwrap();
    story.history.read_asked(10);
    story.read(10, 3).unwrap();
    assert_eq!(story.history.unknown(), Unknown::default());
}

#[test]
fn writes_without_an_answer_may_be_there_or_not() {
    let mut story = Story::begin();
    story.history.write_asked(3).unwrap();
    story.history.write_asked(4).unwrap();
    story.commit(4).unwrap();
    assert_eq!(story.history.unknown(), Unknown { committed: 1, lost: 1 });
}

#[test]
fn an_answer_without_a_committed_entry_is_impossible() {
    let mut story = Story::begin();
    story.history.write_asked(3).unwrap();
    check_impossible(story.answer(3, 4), "is not committed");
}

#[test]
fn an_entry_that_is_committed_twice_is_impossible() {
    check_impossible(Story::begin().commit(2), "committed again");
}

#[test]
fn an_entry_that_nobody_asked_for_is_impossible() {
    check_impossible(Story::begin().commit(7), "nobody asked");
}

#[test]
fn another_answer_is_impossible() {
    let mut story = Story::begin();
    story.history.write_asked(3).unwrap();
    story.commit(3).unwrap();
    check_impossible(story.answer(3, 5), "expected");
}

#[test]
fn a_second_answer_is_impossible() {
    check_impossible(Story::begin().answer(2, 3), "answered twice");
}

#[test]
fn a_refused_write_that_is_committed_is_impossible() {
    let mut story = Story::begin();
    story.history.write_asked(3).unwrap();
    story.history.write_refused(3).unwrap();
    check_impossible(story.commit(3), "was refused");

    let mut story = Story::begin();
    story.history.write_asked(3).unwrap();
    story.commit(3).unwrap();
    check_impossible(story.history.write_refused(3), "is committed");
}

#[test]
fn a_read_that_misses_an_answered_write_is_impossible() {
    let mut story = Story::begin();
    story.history.read_asked(9);
    check_impossible(story.read(9, 1), "was known when it was asked");
}

#[test]
fn a_read_that_goes_back_behind_another_read_is_impossible() {
    let mut story = Story::begin();
    story.history.write_asked(3).unwrap();
    story.commit(3).unwrap();
    story.history.read_asked(9);
    story.read(9, 3).unwrap();
    story.history.read_asked(10);
    check_impossible(story.read(10, 2), "was known when it was asked");
}

#[test]
fn a_read_of_what_is_not_committed_is_impossible() {
    let mut story = Story::begin();
    story.history.read_asked(9);
    let request = Workload::everything();
    let response = story.history.model().range(&request, 2);
    let result = story.history.read_answered(9, 3, &request, &response);
    check_impossible(result, "before it was committed");
}

#[test]
fn a_read_of_another_content_is_impossible() {
    let story = Story::begin();
    let request = Workload::everything();
    let old = story.history.model().range(&request, 1);
    check_impossible(story.history.state_shown(2, &request, &old).map(drop), "expected");
}

#[test]
fn a_serializable_read_may_be_old() {
    let story = Story::begin();
    let request = Workload::everything();
    for (index, is_old) in [(1, true), (2, false)] {
        let response = story.history.model().range(&request, index);
        assert_eq!(story.history.state_shown(index, &request, &response), Ok(is_old));
    }
}

#[test]
fn a_request_id_is_given_out_once() {
    check_impossible(Story::begin().history.write_asked(2), "given out twice");
}
