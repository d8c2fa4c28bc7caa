//! A subscription as a stream of answers.
//!
//! ```text
//!            its own execution ──── nothing to tell now, and others ask the same ────▶ member of a hub
//!                   ▲                                                                      │
//!                   └───────────── missed something, or the hub has ended ◀────────────────┘
//! ```

use std::sync::Arc;

use async_graphql::parser::parse_query;
use async_graphql::{Request, Response, Variables};
use engine::{Code, Error, Principal, Result, Version};
use futures::StreamExt;
use futures::stream::{self, BoxStream};

use super::{Prepared, Service, ServiceInner, with_warnings};
use crate::accepted::complete;
use crate::answer::{Answer, Event, Message, is_retryable};
use crate::error::refused;
use crate::guard::flatten_subscription;
use crate::request::{Idle, RequestState, Subscriber, Telling};
use crate::schema::TenantSchema;
use crate::subscribe::hub::{Hub, Joined, Member};

/// A subscription that is executed for itself.
pub(crate) struct Own {
    /// `None` after one that could not be made.
    answers: Option<BoxStream<'static, Response>>,
    /// What the first answer says that it costs.
    cost: Option<u64>,
    pub(crate) state: Arc<RequestState>,
    pub(crate) request_id: String,
    pub(crate) template: Arc<Template>,
    /// Says that there is one who asks this.
    pub(crate) hub: Option<Arc<Hub>>,
    /// The last answer, where others can be told the same.
    told: Option<Told>,
    /// Whether the client knows a version after which it can continue.
    is_placed: bool,
    /// How the stream ends after the last answer.
    end: End,
}

/// How the stream of a subscription ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Nothing more will follow.
    Complete,
    /// More would follow; the client gets it when it subscribes again.
    Interrupted,
}

impl End {
    /// How a stream ends after an error with this code.
    fn after(code: Code) -> Self {
        if code.is_retryable() { Self::Interrupted } else { Self::Complete }
    }
}

/// What it takes to execute a subscription again.
pub(crate) struct Template {
    schema: Arc<TenantSchema>,
    query: String,
    operation_name: Option<String>,
    variables: Variables,
    typename_bytes: usize,
}

/// What came of waiting for the next answer.
pub(crate) enum Step {
    /// An answer.
    Answered(Answer, Box<Own>),
    /// There is nothing to be told now.
    Idle(Idle, Box<Own>),
    /// It failed without an answer.
    Failed(Error),
    /// It is over.
    Ended(End),
}

/// What an answer is to others who ask the same.
pub(crate) struct Told {
    /// The version that was told before.
    pub from: Version,
    /// The version that it is about.
    pub to: Version,
    /// What is told.
    pub message: Arc<Message>,
}

enum Mode {
    Own(Box<Own>),
    /// The client's position was sent; next, the subscription waits together with others.
    Placed(Idle, Box<Own>),
    Member(Box<Member>),
    /// The last answer was sent.
    Over(End),
}

impl Service {
    /// The messages of a subscription, after version `after` if the client names one. A shutdown of the server interrupts them.
    pub(super) fn stream(
        &self,
        prepared: Prepared,
        request_id: String,
        after: Option<Version>,
    ) -> BoxStream<'static, Event> {
        let service = self.0.clone();
        if let Some(after) = after {
            prepared.state.resume_after(after);
        }
        let own = Box::new(Own::begin(prepared, request_id));
        let events = stream::unfold(Some(Mode::Own(own)), move |mode| {
            let service = service.clone();
            Box::pin(async move {
                let (mode, ending) = (mode?, service.ending.clone());
                tokio::select! {
                    biased;
                    () = ending.cancelled() => Some((Event::Interrupted, None)),
                    event = next(service, mode) => event,
                }
            })
        });
        events.boxed()
    }
}

/// The next event, and the mode in which the stream continues.
async fn next(service: Arc<ServiceInner>, mut mode: Mode) -> Option<(Event, Option<Mode>)> {
    loop {
        mode = match mode {
            Mode::Own(own) => {
                let request_id = own.request_id.clone();
                match own.step(&service).await {
                    Step::Answered(answer, mut own) => {
                        // The shared message is stored for the subscriptions that pass it on.
                        drop(own.take_told());
                        own.is_placed |= answer.version.is_some();
                        service.meter.messages_pushed.add(1);
                        return Some((Event::Answer(answer), Some(Mode::Own(own))));
                    }
                    Step::Idle(idle, own) if own.is_placed => service.waits(idle, own),
                    Step::Idle(idle, mut own) => {
                        own.is_placed = true;
                        let position = Event::Position(idle.told);
                        return Some((position, Some(Mode::Placed(idle, own))));
                    }
                    Step::Failed(error) => {
                        let failed = Response::from_errors(vec![*refused(&error)]);
                        let answer = Event::Answer(Answer::of(failed, &request_id));
                        return Some((answer, Some(Mode::Over(End::after(error.code())))));
                    }
                    Step::Ended(end) => Mode::Over(end),
                }
            }
            Mode::Placed(idle, own) => service.waits(idle, own),
            Mode::Member(mut member) => match member.next().await {
                Some(answer) => {
                    service.meter.messages_pushed.add(1);
                    service.meter.messages_shared.add(1);
                    return Some((Event::Answer(answer), Some(Mode::Member(member))));
                }
                None => Mode::Own(member.leave()),
            },
            Mode::Over(End::Interrupted) => return Some((Event::Interrupted, None)),
            Mode::Over(End::Complete) => return None,
        };
    }
}

impl ServiceInner {
    /// Makes a subscription wait, together with others that ask the same.
    fn waits(self: &Arc<Self>, idle: Idle, own: Box<Own>) -> Mode {
        match self.hubs.join(self, own, idle) {
            Joined::Alone(own) => Mode::Own(own),
            Joined::Member(member) => Mode::Member(member),
        }
    }
}

impl Own {
    fn begin(prepared: Prepared, request_id: String) -> Self {
        let Prepared { schema, state, cost, mut request, .. } = prepared;
        let template = Template {
            schema: schema.clone(),
            // It was read already.
            query: std::mem::take(&mut request.query),
            operation_name: request.operation_name.clone(),
            variables: request.variables.clone(),
            typename_bytes: state.typename_bytes(),
        };
        let answers = Some(schema.schema.execute_stream(request));
        Self {
            answers,
            cost: Some(cost),
            state,
            request_id,
            template: Arc::new(template),
            hub: None,
            told: None,
            is_placed: false,
            end: End::Complete,
        }
    }

    /// The same subscription, by `who`, from behind the version that was told last, and the one that was looked at.
    pub(crate) fn resume(
        service: &Arc<ServiceInner>,
        who: Principal,
        template: Arc<Template>,
        question: Arc<str>,
        request_id: String,
        subscriber: Subscriber,
        behind: (Version, Version),
    ) -> Self {
        let typename_bytes = template.typename_bytes;
        let state = RequestState::resuming(
            service.clone(),
            who,
            typename_bytes,
            question,
            subscriber,
            behind,
        );
        // Its text is read where its answers are made.
        let (of, for_it) = (template.clone(), state.clone());
        let answers = stream::once(async move {
            match of.request() {
                Ok(request) => of.schema.schema.execute_stream(request.data(for_it)),
                Err(error) => {
                    let failed = Response::from_errors(vec![*refused(&error)]);
                    stream::once(async { failed }).boxed()
                }
            }
        });
        let answers = Some(answers.flatten().boxed());
        Self {
            answers,
            cost: None,
            state,
            request_id,
            template,
            hub: None,
            told: None,
            is_placed: true,
            end: End::Complete,
        }
    }

    /// What is to be told of its cost, once.
    pub(crate) fn take_cost(&mut self) -> Option<u64> {
        self.cost.take()
    }

    /// The last answer, where others can be told the same.
    pub(crate) fn take_told(&mut self) -> Option<Told> {
        self.told.take()
    }

    /// The same, which says what it costs with its next answer.
    pub(crate) fn costing(self, cost: Option<u64>) -> Self {
        Self { cost, ..self }
    }

    /// Waits for the next answer, which is made on the threads for queries.
    pub(crate) async fn step(self: Box<Self>, service: &ServiceInner) -> Step {
        let tenant = self.state.tenant().clone();
        // Wherever it is handed on to, it stays where it is.
        let waiting = Box::pin(self.next());
        service.lanes.run(&tenant, waiting).await.unwrap_or_else(Step::Failed)
    }

    async fn next(mut self: Box<Self>) -> Step {
        let Some(answers) = self.answers.as_mut() else { return Step::Ended(self.end) };
        self.state.begin_answer();
        let answered = tokio::select! {
            biased;
            answered = self.state.answered(answers.next()) => answered,
            idle = self.state.idle() => return Step::Idle(idle, self),
        };
        let mut response = match answered {
            Ok(Some(response)) => response,
            Ok(None) => return Step::Ended(self.end),
            Err(error) => {
                self.answers = None;
                self.end = End::after(error.code());
                Response::from_errors(vec![*refused(&error)])
            }
        };
        let limits = &self.state.service().limits;
        complete(&self.template.schema.schema, limits, &mut response.errors).await;
        let telling = self.state.take_telling();
        let mut answer = match telling {
            Some(Telling { told: Some(message), of, .. }) => {
                self.state.service().meter.messages_shared.add(1);
                drop(self.state.warnings.take());
                let answer = Answer::told(&message);
                self.told = Some(Told { from: of.0, to: of.1, message });
                answer
            }
            telling => self.made(response, telling),
        };
        if let Some(cost) = self.cost.take() {
            answer.says_cost(cost);
        }
        answer.version = self.state.take_version();
        answer.room = self.state.let_go().map(|held| held.room);
        Step::Answered(answer, self)
    }

    fn made(&mut self, mut response: Response, telling: Option<Telling>) -> Answer {
        let failed = self.state.failed();
        if !failed.are_parts {
            // What comes after this version would look as if nothing were missing.
            self.answers = None;
            self.state.take_version();
        }
        for error in failed.errors {
            if response.errors.iter().all(|told| told.message != error.message) {
                response.errors.push(error);
            }
        }
        let mut answer = Answer::of(with_warnings(response, &self.state), &self.request_id);
        // A subscription that could not start, or whose change could not be read, produces nothing more.
        if (!failed.are_parts || !answer.has_data) && is_retryable(&answer.errors) {
            self.end = End::Interrupted;
        }
        self.told = telling.and_then(|Telling { key, of, .. }| {
            let message = self.state.service().shared.keep(&key, answer.message()?);
            Some(Told { from: of.0, to: of.1, message })
        });
        answer
    }
}

impl Template {
    /// The request, as it was when it was checked.
    fn request(&self) -> Result<Request> {
        let name = self.operation_name.as_deref();
        let unreadable = |error| Error::internal(format!("a subscription's text: {error}"));
        let mut document = parse_query(&self.query).map_err(unreadable)?;
        flatten_subscription(&mut document, name)?;
        let mut request = Request::new("").variables(self.variables.clone());
        request.operation_name.clone_from(&self.operation_name);
        request.set_parsed_query(document);
        Ok(request)
    }
}
