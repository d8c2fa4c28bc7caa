//! What there is, as Flight SQL tells it: one catalogue, one schema, and datasets as tables.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow_flight::error::{FlightError, Result};
use arrow_flight::sql::metadata::{
    SqlInfoData, SqlInfoDataBuilder, XdbcTypeInfo, XdbcTypeInfoData, XdbcTypeInfoDataBuilder,
};
use arrow_flight::sql::{
    CommandGetDbSchemas, CommandGetPrimaryKeys, CommandGetTables, Nullable, Searchable, SqlInfo,
    SqlSupportedTransaction, XdbcDataType,
};
use engine::{Catalog, SQL_CATALOG, SQL_SCHEMA};

/// What each dataset is.
pub(super) const TABLE: &str = "TABLE";

/// The schemas that are asked for.
pub(super) fn schemas(query: CommandGetDbSchemas) -> Result<RecordBatch> {
    let mut builder = query.into_builder();
    builder.append(SQL_CATALOG, SQL_SCHEMA);
    builder.build()
}

/// The datasets that are asked for.
pub(super) fn tables(query: CommandGetTables, catalog: &Catalog) -> Result<RecordBatch> {
    let mut builder = query.into_builder();
    for (name, entry) in &catalog.datasets {
        let schema = entry.spec.arrow_schema();
        builder.append(SQL_CATALOG, SQL_SCHEMA, name.as_str(), TABLE, &schema)?;
    }
    builder.build()
}

/// The columns by which rows of a dataset are told apart.
pub(super) fn primary_keys(
    query: &CommandGetPrimaryKeys,
    catalog: &Catalog,
) -> Result<RecordBatch> {
    let is_ours = query.catalog.as_deref().is_none_or(|name| name == SQL_CATALOG)
        && query.db_schema.as_deref().is_none_or(|name| name == SQL_SCHEMA);
    let found = catalog.datasets.iter().find(|(name, _)| is_ours && name.as_str() == query.table);
    let keys: Vec<&str> = match found {
        Some((_, entry)) => entry.spec.key.iter().map(String::as_str).collect(),
        None => Vec::new(),
    };
    let same = |text: &str| -> ArrayRef { Arc::new(StringArray::from(vec![text; keys.len()])) };
    let numbers: Int32Array = (1..).take(keys.len()).collect();
    let columns = vec![
        same(SQL_CATALOG),
        same(SQL_SCHEMA),
        same(&query.table),
        Arc::new(StringArray::from(keys.clone())),
        Arc::new(numbers),
        same("key"),
    ];
    Ok(RecordBatch::try_new(primary_keys_schema(), columns)?)
}

fn text(name: &str, nullable: bool) -> Field {
    Field::new(name, DataType::Utf8, nullable)
}

/// Source: arrow.apache.org/docs/format/FlightSql.html, CommandGetPrimaryKeys.
pub(super) fn primary_keys_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        text("catalog_name", true),
        text("db_schema_name", true),
        text("table_name", false),
        text("column_name", false),
        Field::new("key_sequence", DataType::Int32, false),
        text("key_name", true),
    ]))
}

/// Of keys of other tables, of which there are none. Source: the same, CommandGetImportedKeys.
pub(super) fn foreign_keys_schema() -> SchemaRef {
    let side = |side: &str| {
        [
            text(&format!("{side}_catalog_name"), true),
            text(&format!("{side}_db_schema_name"), true),
            text(&format!("{side}_table_name"), false),
            text(&format!("{side}_column_name"), false),
        ]
    };
    let mut fields: Vec<Field> = side("pk").into_iter().chain(side("fk")).collect();
    fields.extend([
        Field::new("key_sequence", DataType::Int32, false),
        text("fk_key_name", true),
        text("pk_key_name", true),
        Field::new("update_rule", DataType::UInt8, false),
        Field::new("delete_rule", DataType::UInt8, false),
    ]);
    Arc::new(Schema::new(fields))
}

/// What this server is and can.
pub(super) fn server() -> Result<&'static SqlInfoData> {
    static SERVER: LazyLock<std::result::Result<SqlInfoData, String>> = LazyLock::new(|| {
        let mut about = SqlInfoDataBuilder::new();
        about.append(SqlInfo::FlightSqlServerName, "Colonnade");
        about.append(SqlInfo::FlightSqlServerVersion, env!("CARGO_PKG_VERSION"));
        about.append(SqlInfo::FlightSqlServerArrowVersion, "1.3");
        about.append(SqlInfo::FlightSqlServerReadOnly, true);
        about.append(SqlInfo::FlightSqlServerSql, true);
        about.append(SqlInfo::FlightSqlServerSubstrait, false);
        about.append(SqlInfo::FlightSqlServerTransaction, SqlSupportedTransaction::None as i32);
        about.append(SqlInfo::FlightSqlServerCancel, false);
        about.append(SqlInfo::FlightSqlServerBulkIngestion, false);
        about.append(SqlInfo::SqlDdlCatalog, false);
        about.append(SqlInfo::SqlDdlSchema, false);
        about.append(SqlInfo::SqlDdlTable, false);
        // Names without quotes are read as small letters.
        about.append(SqlInfo::SqlIdentifierCase, 3);
        about.append(SqlInfo::SqlIdentifierQuoteChar, "\"");
        about.append(SqlInfo::SqlQuotedIdentifierCase, 1);
        about.append(SqlInfo::SqlAllTablesAreSelectable, true);
        about.append(SqlInfo::SqlNullOrdering, 0);
        about.build().map_err(|error| error.to_string())
    });
    SERVER.as_ref().map_err(|error| FlightError::protocol(error.clone()))
}

/// The types that columns have.
pub(super) fn types() -> Result<&'static XdbcTypeInfoData> {
    static TYPES: LazyLock<std::result::Result<XdbcTypeInfoData, String>> = LazyLock::new(|| {
        let mut types = XdbcTypeInfoDataBuilder::new();
        let quote = || Some("'".to_owned());
        for (name, kind, size, quoted, radix) in [
            ("BOOLEAN", XdbcDataType::XdbcBit, 1, None, None),
            ("INT", XdbcDataType::XdbcInteger, 32, None, Some(2)),
            ("BIGINT", XdbcDataType::XdbcBigint, 64, None, Some(2)),
            ("FLOAT", XdbcDataType::XdbcFloat, 24, None, Some(2)),
            ("DOUBLE", XdbcDataType::XdbcDouble, 53, None, Some(2)),
            ("DECIMAL", XdbcDataType::XdbcDecimal, 38, None, Some(10)),
            ("VARCHAR", XdbcDataType::XdbcVarchar, i32::MAX, quote(), None),
            ("VARBINARY", XdbcDataType::XdbcVarbinary, i32::MAX, Some("X'".to_owned()), None),
            ("DATE", XdbcDataType::XdbcDate, 10, quote(), None),
            ("TIMESTAMP", XdbcDataType::XdbcTimestamp, 32, quote(), None),
        ] {
            let end = quoted.as_ref().map(|_| "'".to_owned());
            types.append(XdbcTypeInfo {
                type_name: name.to_owned(),
                data_type: kind,
                column_size: Some(size),
                literal_prefix: quoted,
                literal_suffix: end,
                create_params: None,
                nullable: Nullable::NullabilityNullable,
                case_sensitive: name == "VARCHAR",
                searchable: Searchable::Full,
                unsigned_attribute: radix.map(|_| false),
                fixed_prec_scale: false,
                auto_increment: None,
                local_type_name: Some(name.to_owned()),
                minimum_scale: None,
                maximum_scale: None,
                sql_data_type: kind,
                datetime_subcode: None,
                num_prec_radix: radix,
                interval_precision: None,
            });
        }
        types.build().map_err(|error| error.to_string())
    });
    TYPES.as_ref().map_err(|error| FlightError::protocol(error.clone()))
}
