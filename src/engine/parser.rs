//! The parser: parses documents and makes their plans on its own threads, so that a large document blocks no request.

use actix::{Actor, Handler, Message, SyncContext};
use bytes::Bytes;

use borges_org::{self as org, Document, HeaderArgsProperty};
use borges_plan::{self as plan, Diagnostic, Plan, PlanOptions};

/// The actor that parses documents.
#[derive(Debug, Default)]
pub(super) struct Parser;

/// Parse a document and make its plan.
#[derive(Debug, Clone)]
pub struct ParseDocument {
    /// The document, byte for byte.
    pub source: Bytes,
    /// The header arguments of the setupfile.
    pub defaults: Vec<HeaderArgsProperty>,
    /// The options of the plan.
    pub options: PlanOptions,
}

/// A parsed document.
#[derive(Debug)]
pub struct Parsed {
    /// The elements of the document.
    pub document: Document,
    /// The plan, or all errors of the document.
    pub plan: Result<Plan, Vec<Diagnostic>>,
}

impl ParseDocument {
    /// Parses the document on the current thread.
    pub(super) fn read(&self) -> Parsed {
        let document = org::parse(&self.source, &self.defaults);
        let plan = plan::plan(&self.source, &document, &self.options);
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
    fn handle(self, _: &mut A::Context, reply: Option<actix::dev::OneshotSender<Self>>) {
        reply.map(|reply| reply.send(self).ok());
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
