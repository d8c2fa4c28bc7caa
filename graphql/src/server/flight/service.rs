//! The calls of Flight SQL.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::ipc::writer::IpcWriteOptions;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_server::FlightService;
use arrow_flight::sql::server::{FlightSqlService, PeekableFlightDataStream};
use arrow_flight::sql::{
    ActionBeginTransactionRequest, ActionBeginTransactionResult,
    ActionClosePreparedStatementRequest, ActionCreatePreparedStatementRequest,
    ActionCreatePreparedStatementResult, CommandGetCatalogs, CommandGetCrossReference,
    CommandGetDbSchemas, CommandGetExportedKeys, CommandGetImportedKeys, CommandGetPrimaryKeys,
    CommandGetSqlInfo, CommandGetTableTypes, CommandGetTables, CommandGetXdbcTypeInfo,
    CommandPreparedStatementQuery, CommandPreparedStatementUpdate, CommandStatementIngest,
    CommandStatementQuery, CommandStatementUpdate, DoPutPreparedStatementResult, ProstMessageExt,
    SqlInfo, TicketStatementQuery,
};
use arrow_flight::{
    Action, FlightDescriptor, FlightEndpoint, FlightInfo, HandshakeRequest, HandshakeResponse,
    IpcMessage, SchemaAsIpc, Ticket,
};
use bytes::Bytes;
use engine::{Error, Principal, Result as Done, SQL_CATALOG, SqlQuery, rows_bytes};
use futures::{Stream, TryStreamExt as _, stream};
use prost::Message as _;
use tonic::{Request, Response, Status, Streaming};

use super::statement::{Statement, sent_values, values_schema};
use super::{Pass, catalogue, not_here, pass_of, status};
use crate::error::{bad_input, over_limit};
use crate::server::pieces;
use crate::server::rows::Rows;
use crate::service::Service;
use crate::service::sql::{AboutQuery, MadeOfRows, SqlAnswer, planned, with_versions};
use crate::service::streamed::Piece;

/// Bytes of a name, or a pattern of names, of the catalogue.
const NAME_BYTES_MAX: usize = 1_024;
/// Kinds of tables, or facts of the server, that one call asks for.
const FEW_MAX: usize = 1_000;
/// Bytes of rows that are handed over at once, about.
const BATCHES_BYTES: usize = 2 << 20;

const READS_ONLY: &str = "Flight SQL: this server only reads here; rows are taken by POST /v1/ingest/{dataset}, and changed in GraphQL";

type Sent<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;
type Told = Result<Response<FlightInfo>, Status>;
type Given = Result<Response<<Flight as FlightService>::DoGetStream>, Status>;

/// Answers calls of those who were let in.
pub(super) struct Flight {
    service: Service,
}

/// Rows as they are, some at a time.
#[derive(Default)]
struct Batches {
    batches: VecDeque<RecordBatch>,
    bytes: usize,
}

impl Piece for VecDeque<RecordBatch> {
    fn bytes(&self) -> usize {
        self.iter().map(rows_bytes).sum()
    }
}

impl MadeOfRows for Batches {
    type Piece = VecDeque<RecordBatch>;
    const BYTES: usize = BATCHES_BYTES;

    fn take(&mut self, batch: RecordBatch) -> Done<()> {
        self.bytes += rows_bytes(&batch);
        self.batches.push_back(batch);
        Ok(())
    }

    fn end(&mut self) -> Done<()> {
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

    fn piece(&mut self) -> Option<Self::Piece> {
        self.bytes = 0;
        let batches = std::mem::take(&mut self.batches);
        (!batches.is_empty()).then_some(batches)
    }
}

impl Flight {
    pub(super) fn new(service: Service) -> Self {
        Self { service }
    }

    /// What is known of a query before its rows are read.
    async fn about(&self, who: &Principal, statement: Statement) -> Done<AboutQuery> {
        let (engine, asks) = (self.service.0.engine.clone(), who.clone());
        let work = async move {
            let request = statement.request()?;
            let session = engine.session(&asks, &request.pins).await?;
            Ok(planned(&session, &request).await?.1)
        };
        self.service.in_turn(who, work).await
    }

    /// What is looked up in the catalogue, in its turn.
    async fn looked_up(
        &self,
        pass: &Pass,
        work: impl Future<Output = Done<Result<RecordBatch, FlightError>>> + Send + 'static,
    ) -> Given {
        let batch = self.service.in_turn(&pass.who, work).await;
        at_hand(batch.map_err(|error| status(&error))?)
    }

    async fn told(&self, pass: &Pass, statement: Statement, of: FlightDescriptor) -> Told {
        let told = async {
            let about = self.about(&pass.who, statement.clone()).await?;
            let ticket =
                TicketStatementQuery { statement_handle: statement.at(&about.versions).handle()? };
            Ok((with_versions(&about.schema, &about.versions), ticket))
        };
        let (schema, ticket) = told.await.map_err(|error: Error| status(&error))?;
        info(&schema, &ticket, of)
    }

    async fn given(&self, pass: Pass, statement: Statement) -> Given {
        let bytes_max = self.service.0.limits.flight_bytes_max;
        let request = move || statement.request();
        let begun = self.service.sql(&pass.who, request, bytes_max, |_, _| Ok(Batches::default()));
        let SqlAnswer { about, pieces } = begun.await.map_err(|error| status(&error))?;
        let schema = with_versions(&about.schema, &about.versions);
        let sent = Rows { of: "a query".to_owned(), pieces };
        let pieces =
            pieces::of(sent, Some(pass)).map_err(|error| FlightError::from(status(&error)));
        let batches = pieces.map_ok(|piece| stream::iter(piece.into_iter().map(Ok))).try_flatten();
        let told = SchemaRef::clone(&schema);
        let batches = batches.and_then(move |batch: RecordBatch| {
            let batch = batch.with_schema(SchemaRef::clone(&told)).map_err(FlightError::from);
            async move { batch }
        });
        Ok(Response::new(encoded(schema, batches)))
    }
}

fn encoded(
    schema: SchemaRef,
    rows: impl Stream<Item = Result<RecordBatch, FlightError>> + Send + 'static,
) -> Sent<arrow_flight::FlightData> {
    let encoded = FlightDataEncoderBuilder::new().with_schema(schema).build(rows);
    Box::pin(encoded.map_err(|error| match error {
        FlightError::Tonic(status) => *status,
        error => Status::internal(error.to_string()),
    }))
}

/// What is told of rows that are to be fetched.
fn info(schema: &Schema, ticket: &impl ProstMessageExt, of: FlightDescriptor) -> Told {
    let ticket = Ticket::new(ticket.as_any().encode_to_vec());
    let told = FlightInfo::new().try_with_schema(schema);
    let told = told.map_err(|error| status(&error.into()))?;
    let endpoint = FlightEndpoint::new().with_ticket(ticket);
    Ok(Response::new(told.with_endpoint(endpoint).with_descriptor(of)))
}

/// Rows that are at hand.
fn at_hand(batch: Result<RecordBatch, FlightError>) -> Given {
    let batch = batch.map_err(|error| status(&bad_input(format!("Flight SQL: {error}"))))?;
    Ok(Response::new(encoded(batch.schema(), stream::iter([Ok(batch)]))))
}

fn schema_bytes(schema: &Schema) -> Done<Bytes> {
    let options = IpcWriteOptions::default();
    let IpcMessage(bytes) = SchemaAsIpc::new(schema, &options).try_into()?;
    Ok(bytes)
}

#[tonic::async_trait]
impl FlightSqlService for Flight {
    type FlightService = Self;

    /// The headers of the answer have what is to be shown from now on.
    async fn do_handshake(
        &self,
        request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Sent<HandshakeResponse>>, Status> {
        pass_of(&request)?;
        let answer = HandshakeResponse::default();
        Ok(Response::new(Box::pin(stream::iter([Ok(answer)]))))
    }

    async fn get_flight_info_statement(
        &self,
        query: CommandStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Told {
        let pass = pass_of(&request)?;
        self.told(&pass, Statement::new(query.query), request.into_inner()).await
    }

    async fn get_flight_info_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Told {
        let pass = pass_of(&request)?;
        let statement = prepared(&query.prepared_statement_handle)?;
        self.told(&pass, statement, request.into_inner()).await
    }

    async fn do_get_statement(
        &self,
        ticket: TicketStatementQuery,
        request: Request<Ticket>,
    ) -> Given {
        let pass = pass_of(&request)?;
        let statement = Statement::shown(&ticket.statement_handle, "the ticket");
        self.given(pass, statement.map_err(|error| status(&error))?).await
    }

    async fn do_get_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<Ticket>,
    ) -> Given {
        let pass = pass_of(&request)?;
        self.given(pass, prepared(&query.prepared_statement_handle)?).await
    }

    async fn do_action_create_prepared_statement(
        &self,
        query: ActionCreatePreparedStatementRequest,
        request: Request<Action>,
    ) -> Result<ActionCreatePreparedStatementResult, Status> {
        let pass = pass_of(&request)?;
        let (engine, asks) = (self.service.0.engine.clone(), pass.who.clone());
        let work = async move {
            let statement = Statement::new(query.query);
            let named = statement.named()?;
            let session = engine.session(&asks, &[]).await?;
            let (columns, values) = match named.names.is_empty() {
                true => (Some(planned(&session, &statement.request()?).await?.1.schema), None),
                false => {
                    let described = session.described(&SqlQuery::parse(&named.text)?).await?;
                    let values = values_schema(&named.names, &described);
                    (described.columns, Some(values))
                }
            };
            let bytes = |schema: Option<SchemaRef>| schema.map(|schema| schema_bytes(&schema));
            Ok(ActionCreatePreparedStatementResult {
                prepared_statement_handle: statement.handle()?,
                dataset_schema: bytes(columns).transpose()?.unwrap_or_default(),
                parameter_schema: bytes(values).transpose()?.unwrap_or_default(),
            })
        };
        self.service.in_turn(&pass.who, work).await.map_err(|error| status(&error))
    }

    async fn do_put_prepared_statement_query(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<DoPutPreparedStatementResult, Status> {
        let pass = pass_of(&request)?;
        let statement = prepared(&query.prepared_statement_handle)?;
        let sent = request.into_inner();
        let values = tokio::select! {
            values = sent_values(sent.into_peekable()) => values?,
            over = pass.over() => return Err(status(&over.why())),
        };
        let work = async move { statement.with_values(values)?.handle() };
        let handle = self.service.in_turn(&pass.who, work).await;
        let handle = handle.map_err(|error| status(&error))?;
        Ok(DoPutPreparedStatementResult { prepared_statement_handle: Some(handle) })
    }

    async fn do_action_close_prepared_statement(
        &self,
        _: ActionClosePreparedStatementRequest,
        _: Request<Action>,
    ) -> Result<(), Status> {
        // Nothing was kept.
        Ok(())
    }

    async fn get_flight_info_catalogs(
        &self,
        query: CommandGetCatalogs,
        request: Request<FlightDescriptor>,
    ) -> Told {
        info(&query.into_builder().schema(), &query, request.into_inner())
    }

    async fn do_get_catalogs(&self, query: CommandGetCatalogs, _: Request<Ticket>) -> Given {
        let mut builder = query.into_builder();
        builder.append(SQL_CATALOG);
        at_hand(builder.build())
    }

    async fn get_flight_info_schemas(
        &self,
        query: CommandGetDbSchemas,
        request: Request<FlightDescriptor>,
    ) -> Told {
        info(&query.clone().into_builder().schema(), &query, request.into_inner())
    }

    async fn do_get_schemas(&self, query: CommandGetDbSchemas, request: Request<Ticket>) -> Given {
        let pass = pass_of(&request)?;
        require_short([&query.catalog, &query.db_schema_filter_pattern])?;
        self.looked_up(&pass, async move { Ok(catalogue::schemas(query)) }).await
    }

    async fn get_flight_info_tables(
        &self,
        query: CommandGetTables,
        request: Request<FlightDescriptor>,
    ) -> Told {
        info(&query.clone().into_builder().schema(), &query, request.into_inner())
    }

    async fn do_get_tables(&self, query: CommandGetTables, request: Request<Ticket>) -> Given {
        let pass = pass_of(&request)?;
        let patterns = [&query.db_schema_filter_pattern, &query.table_name_filter_pattern];
        require_short(patterns.into_iter().chain([&query.catalog]))?;
        require_few(query.table_types.len(), "kinds of tables")?;
        let (engine, asks) = (self.service.0.engine.clone(), pass.who.clone());
        let work =
            async move { Ok(catalogue::tables(query, engine.catalog(&asks).await?.as_ref())) };
        self.looked_up(&pass, work).await
    }

    async fn get_flight_info_table_types(
        &self,
        query: CommandGetTableTypes,
        request: Request<FlightDescriptor>,
    ) -> Told {
        info(&query.into_builder().schema(), &query, request.into_inner())
    }

    async fn do_get_table_types(&self, query: CommandGetTableTypes, _: Request<Ticket>) -> Given {
        let mut builder = query.into_builder();
        builder.append(catalogue::TABLE);
        at_hand(builder.build())
    }

    async fn get_flight_info_sql_info(
        &self,
        query: CommandGetSqlInfo,
        request: Request<FlightDescriptor>,
    ) -> Told {
        let about = catalogue::server().map_err(Status::from)?;
        info(&query.clone().into_builder(about).schema(), &query, request.into_inner())
    }

    async fn do_get_sql_info(&self, query: CommandGetSqlInfo, _: Request<Ticket>) -> Given {
        require_few(query.info.len(), "numbers of what is asked")?;
        let about = catalogue::server().map_err(Status::from)?;
        at_hand(query.into_builder(about).build())
    }

    async fn get_flight_info_xdbc_type_info(
        &self,
        query: CommandGetXdbcTypeInfo,
        request: Request<FlightDescriptor>,
    ) -> Told {
        let types = catalogue::types().map_err(Status::from)?;
        info(&query.into_builder(types).schema(), &query, request.into_inner())
    }

    async fn do_get_xdbc_type_info(
        &self,
        query: CommandGetXdbcTypeInfo,
        _: Request<Ticket>,
    ) -> Given {
        let types = catalogue::types().map_err(Status::from)?;
        at_hand(query.into_builder(types).build())
    }

    async fn get_flight_info_primary_keys(
        &self,
        query: CommandGetPrimaryKeys,
        request: Request<FlightDescriptor>,
    ) -> Told {
        info(&catalogue::primary_keys_schema(), &query, request.into_inner())
    }

    async fn do_get_primary_keys(
        &self,
        query: CommandGetPrimaryKeys,
        request: Request<Ticket>,
    ) -> Given {
        let pass = pass_of(&request)?;
        require_short([&query.catalog, &query.db_schema, &Some(query.table.clone())])?;
        let (engine, asks) = (self.service.0.engine.clone(), pass.who.clone());
        let work = async move {
            Ok(catalogue::primary_keys(&query, engine.catalog(&asks).await?.as_ref()))
        };
        self.looked_up(&pass, work).await
    }

    async fn get_flight_info_exported_keys(
        &self,
        query: CommandGetExportedKeys,
        request: Request<FlightDescriptor>,
    ) -> Told {
        info(&catalogue::foreign_keys_schema(), &query, request.into_inner())
    }

    async fn do_get_exported_keys(&self, _: CommandGetExportedKeys, _: Request<Ticket>) -> Given {
        at_hand(Ok(RecordBatch::new_empty(catalogue::foreign_keys_schema())))
    }

    async fn get_flight_info_imported_keys(
        &self,
        query: CommandGetImportedKeys,
        request: Request<FlightDescriptor>,
    ) -> Told {
        info(&catalogue::foreign_keys_schema(), &query, request.into_inner())
    }

    async fn do_get_imported_keys(&self, _: CommandGetImportedKeys, _: Request<Ticket>) -> Given {
        at_hand(Ok(RecordBatch::new_empty(catalogue::foreign_keys_schema())))
    }

    async fn get_flight_info_cross_reference(
        &self,
        query: CommandGetCrossReference,
        request: Request<FlightDescriptor>,
    ) -> Told {
        info(&catalogue::foreign_keys_schema(), &query, request.into_inner())
    }

    async fn do_get_cross_reference(
        &self,
        _: CommandGetCrossReference,
        _: Request<Ticket>,
    ) -> Given {
        at_hand(Ok(RecordBatch::new_empty(catalogue::foreign_keys_schema())))
    }

    async fn do_put_statement_update(
        &self,
        _: CommandStatementUpdate,
        _: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        Err(not_here(READS_ONLY))
    }

    async fn do_put_statement_ingest(
        &self,
        _: CommandStatementIngest,
        _: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        Err(not_here(READS_ONLY))
    }

    async fn do_put_prepared_statement_update(
        &self,
        _: CommandPreparedStatementUpdate,
        _: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        Err(not_here(READS_ONLY))
    }

    async fn do_action_begin_transaction(
        &self,
        _: ActionBeginTransactionRequest,
        _: Request<Action>,
    ) -> Result<ActionBeginTransactionResult, Status> {
        let says = "Flight SQL: there are no transactions here; each query reads one version of each dataset";
        Err(not_here(says))
    }

    /// All that is known of the server stands in `catalogue.rs`.
    async fn register_sql_info(&self, _: i32, _: &SqlInfo) {}
}

/// Names and patterns of them are short; of a long pattern much is made.
fn require_short<'a>(texts: impl IntoIterator<Item = &'a Option<String>>) -> Result<(), Status> {
    let longest = texts.into_iter().flatten().map(String::len).max().unwrap_or_default();
    match longest <= NAME_BYTES_MAX {
        true => Ok(()),
        false => {
            let what = "bytes of a name or pattern of the catalogue";
            Err(status(&over_limit(what, NAME_BYTES_MAX, longest)))
        }
    }
}

fn require_few(count: usize, what: &str) -> Result<(), Status> {
    match count <= FEW_MAX {
        true => Ok(()),
        false => Err(status(&over_limit(what, FEW_MAX, count))),
    }
}

fn prepared(handle: &[u8]) -> Result<Statement, Status> {
    Statement::shown(handle, "the prepared statement").map_err(|error| status(&error))
}
