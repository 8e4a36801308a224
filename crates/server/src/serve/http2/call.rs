//! One call of a connection: its request as it arrives, its answer as it leaves.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Uri, Version};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use quoin_front::{Code, Connection, Head};
use tonic::Status;
use tonic::body::Body;

use super::super::{Answer, UnaryAnswer};
use crate::grpc::unary::{Answered, Message};

/// The head of every answer that is a message.
static HEAD: LazyLock<HeaderMap> = LazyLock::new(|| {
    let content_type = HeaderValue::from_static("application/grpc");
    HeaderMap::from_iter([(CONTENT_TYPE, content_type)])
});
/// The end of every answer that is a message.
static SUCCESS: LazyLock<HeaderMap> = LazyLock::new(|| {
    let status = HeaderName::from_static("grpc-status");
    HeaderMap::from_iter([(status, HeaderValue::from_static("0"))])
});

/// What the task of a connection and its calls share. It is never held while either waits.
#[derive(Debug)]
pub(in crate::serve) struct Shared {
    state: Mutex<State>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) connection: Connection,
    /// The requests of all calls under way.
    pub(super) arriving: BTreeMap<u32, Arriving>,
    /// Calls whose next part waits for room.
    waiting: BTreeMap<u32, Waker>,
    /// The task of the connection, while it sleeps.
    task: Option<Waker>,
    /// The task runs, and writes what is there before it sleeps.
    is_in_turn: bool,
}

/// A request of which something may still arrive, or be taken.
#[derive(Debug)]
pub(super) struct Arriving {
    parts: VecDeque<Bytes>,
    is_end: bool,
    /// The client has given up, or was given up.
    is_gone: bool,
    /// Who waits for the next part.
    reader: Option<Waker>,
    /// The call, when it waits for anything.
    call: Option<Waker>,
}

impl Shared {
    pub(super) fn new(connection: Connection) -> Self {
        let (arriving, waiting) = (BTreeMap::new(), BTreeMap::new());
        let state = State { connection, arriving, waiting, task: None, is_in_turn: false };
        Self { state: Mutex::new(state) }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn begin_turn(&self, context: &mut Context<'_>) {
        let mut state = self.lock();
        state.is_in_turn = true;
        match &mut state.task {
            Some(task) => task.clone_from(context.waker()),
            None => state.task = Some(context.waker().clone()),
        }
    }

    pub(super) fn end_turn(&self) {
        self.lock().is_in_turn = false;
    }
}

impl State {
    /// A part of a request has arrived.
    pub(super) fn arrived(&mut self, stream: u32, bytes: &[u8], is_end: bool) {
        let Some(arriving) = self.arriving.get_mut(&stream) else { return };
        if !bytes.is_empty() {
            arriving.parts.push_back(Bytes::copy_from_slice(bytes));
        }
        arriving.is_end |= is_end;
        if let Some(reader) = arriving.reader.take() {
            reader.wake();
        }
    }

    /// Nobody wants the answer of a call any more.
    pub(super) fn gone(&mut self, stream: u32) {
        let Some(arriving) = self.arriving.get_mut(&stream) else { return };
        arriving.is_gone = true;
        let (reader, call) = (arriving.reader.take(), arriving.call.take());
        reader.into_iter().chain(call).for_each(Waker::wake);
    }

    /// Something has left, so that there may be room.
    pub(super) fn wake_waiting(&mut self) {
        let Self { connection, waiting, .. } = self;
        if connection.is_output_full() {
            return;
        }
        // The others wait for their own windows, and there may be thousands of them.
        waiting.retain(|stream, call| {
            let has_room = connection.has_room(*stream);
            if has_room {
                call.wake_by_ref();
            }
            !has_room
        });
    }

    /// Lets the task write what was put into the output beside its turn.
    fn wake_task(&mut self) {
        if !self.is_in_turn
            && !self.connection.output().is_empty()
            && let Some(task) = self.task.take()
        {
            task.wake();
        }
    }
}

impl Arriving {
    pub(super) fn new(is_end: bool) -> Self {
        Self { parts: VecDeque::new(), is_end, is_gone: false, reader: None, call: None }
    }
}

/// Makes the request of a call.
pub(super) fn request(body: Arrives, head: &Head) -> Request<Arrives> {
    let mut request = Request::new(body);
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = Uri::from(head.path.clone());
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = head.headers.clone();
    request
}

/// The body of a request.
#[derive(Debug)]
pub(in crate::serve) struct Arrives {
    shared: Arc<Shared>,
    stream: u32,
}

impl Arrives {
    pub(super) fn new(shared: &Arc<Shared>, stream: u32) -> Self {
        Self { shared: Arc::clone(shared), stream }
    }
}

impl HttpBody for Arrives {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let mut state = self.shared.lock();
        let Some(arriving) = state.arriving.get_mut(&self.stream) else {
            return Poll::Ready(Some(Err(Status::cancelled("context canceled"))));
        };
        if let Some(bytes) = arriving.parts.pop_front() {
            // What is taken here makes room for more of the same request.
            let count = u32::try_from(bytes.len()).expect("a frame's content fits");
            state.connection.release(self.stream, count);
            state.wake_task();
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        if arriving.is_gone {
            return Poll::Ready(Some(Err(Status::cancelled("context canceled"))));
        }
        if arriving.is_end {
            return Poll::Ready(None);
        }
        note(&mut arriving.reader, context);
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        let state = self.shared.lock();
        state.arriving.get(&self.stream).is_some_and(|it| it.is_end && it.parts.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

fn note(place: &mut Option<Waker>, context: &Context<'_>) {
    match place {
        Some(waker) => waker.clone_from(context.waker()),
        None => *place = Some(context.waker().clone()),
    }
}

/// A call that is being answered.
pub(super) struct Running {
    shared: Arc<Shared>,
    stream: u32,
    phase: Phase,
}

enum Phase {
    Unary(UnaryAnswer),
    Answering(Answer),
    Sending(Body),
}

impl Running {
    pub(super) fn new(shared: &Arc<Shared>, stream: u32, answer: Answer) -> Self {
        Self { shared: Arc::clone(shared), stream, phase: Phase::Answering(answer) }
    }

    /// A call that is answered with one message.
    pub(super) fn unary(shared: &Arc<Shared>, stream: u32, answer: UnaryAnswer) -> Self {
        Self { shared: Arc::clone(shared), stream, phase: Phase::Unary(answer) }
    }

    /// Sends a whole answer.
    fn send_message(&self, message: Message) {
        let mut state = self.shared.lock();
        let connection = &mut state.connection;
        connection.send_head(self.stream, 200, &HEAD, false);
        connection.send_data(self.stream, message.bytes());
        connection.send_end(self.stream, Some(&SUCCESS));
        drop(state);
        message.sent();
    }

    /// Sends the head of the answer. Returns true if it is all of it.
    fn begin(&mut self, response: Response<Body>) -> bool {
        let (head, body) = response.into_parts();
        let is_end = body.is_end_stream();
        let mut state = self.shared.lock();
        state.connection.send_head(self.stream, head.status.as_u16(), &head.headers, is_end);
        drop(state);
        self.phase = Phase::Sending(body);
        is_end
    }

    /// Goes on as far as possible; ready when the call is over.
    fn poll_on(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            match &mut self.phase {
                Phase::Unary(answer) => match ready!(answer.as_mut().poll(context)) {
                    Answered::Message(message) => {
                        self.send_message(message);
                        return Poll::Ready(());
                    }
                    Answered::Response(response) => {
                        if self.begin(response) {
                            return Poll::Ready(());
                        }
                    }
                },
                Phase::Answering(answer) => {
                    let Ok(response) = ready!(answer.as_mut().poll(context));
                    if self.begin(response) {
                        return Poll::Ready(());
                    }
                }
                Phase::Sending(body) => {
                    let mut state = self.shared.lock();
                    if !state.connection.has_room(self.stream) {
                        state.waiting.insert(self.stream, context.waker().clone());
                        return Poll::Pending;
                    }
                    drop(state);
                    let part = ready!(Pin::new(&mut *body).poll_frame(context));
                    let is_end = body.is_end_stream();
                    if self.send(part, is_end) {
                        return Poll::Ready(());
                    }
                }
            }
        }
    }

    /// Sends a part of the answer. Returns true if it was the last.
    fn send(&mut self, part: Option<Result<Frame<Bytes>, Status>>, is_end: bool) -> bool {
        let mut state = self.shared.lock();
        let connection = &mut state.connection;
        match part {
            None => connection.send_end(self.stream, None),
            Some(Err(status)) => connection.reset(self.stream, code_of(&status)),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(bytes) => {
                    connection.send_data(self.stream, bytes);
                    if !is_end {
                        return false;
                    }
                    connection.send_end(self.stream, None);
                }
                Err(frame) => {
                    connection.send_end(self.stream, frame.trailers_ref());
                }
            },
        }
        true
    }
}

impl Future for Running {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let is_gone = |shared: &Shared, stream: u32| {
            shared.lock().arriving.get(&stream).is_none_or(|arriving| arriving.is_gone)
        };
        if is_gone(&self.shared, self.stream) {
            return Poll::Ready(());
        }
        if self.poll_on(context).is_ready() {
            return Poll::Ready(());
        }
        // A client that gives up wakes the call, whatever that waits for.
        let mut state = self.shared.lock();
        let stream = self.stream;
        if let Some(arriving) = state.arriving.get_mut(&stream) {
            note(&mut arriving.call, context);
        }
        Poll::Pending
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.arriving.remove(&self.stream);
        state.waiting.remove(&self.stream);
    }
}

/// The code that a body names with which its stream is to be reset.
fn code_of(status: &Status) -> Code {
    let source = std::error::Error::source(status);
    let reset = source.and_then(|source| source.downcast_ref::<h2::Error>());
    match reset.and_then(h2::Error::reason) {
        Some(h2::Reason::ENHANCE_YOUR_CALM) => Code::EnhanceYourCalm,
        _ => Code::Internal,
    }
}
