//! Documents → plans, on threads of its own, so that a large document keeps nobody from being heard.

use actix::{Actor, Handler, Message, SyncContext};
use bytes::Bytes;

use borges_org::{self as org, Document, HeaderArgsProperty};
use borges_plan::{self as plan, Diagnostic, Plan, PlanOptions};

/// Reads documents.
#[derive(Debug, Default)]
pub(super) struct Parser;

/// What does this document come down to?
#[derive(Debug, Clone)]
pub struct ParseDocument {
    /// The document, byte for byte.
    pub source: Bytes,
    /// The setupfile's header arguments.
    pub defaults: Vec<HeaderArgsProperty>,
    /// What is asked of it.
    pub request: PlanOptions,
}

/// A document, read.
#[derive(Debug)]
pub struct Parsed {
    /// What it holds.
    pub document: Document,
    /// What it comes down to, or everything that is wrong with it.
    pub plan: Result<Plan, Vec<Diagnostic>>,
}

impl ParseDocument {
    /// Reads it.
    pub(super) fn read(&self) -> Parsed {
        let document = org::parse(&self.source, &self.defaults);
        let plan = plan::plan(&self.source, &document, &self.request);
        Parsed { document, plan }
    }
}

impl Message for ParseDocument {
    type Result = Parsed;
}

impl<A, M: Message<Result = Self>> actix::dev::MessageResponse<A, M> for Parsed
where
    A: Actor,
{
    fn handle(self, _: &mut A::Context, asker: Option<actix::dev::OneshotSender<Self>>) {
        asker.map(|asker| asker.send(self).ok());
    }
}

impl Actor for Parser {
    type Context = SyncContext<Self>;
}

impl Handler<ParseDocument> for Parser {
    type Result = Parsed;

    fn handle(&mut self, document: ParseDocument, _: &mut SyncContext<Self>) -> Parsed {
        document.read()
    }
}
