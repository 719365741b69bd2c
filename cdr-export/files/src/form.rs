//! The two forms of a file, each written record by record to anything that takes octets.
//!
//! The same records give the same octets: no time of writing, no order that could differ, one compression at one level. Absent: which
//! records, and where the file is.

use std::io::Write;
use std::sync::Arc;

use arrow_array::builder::{
    ArrayBuilder, BooleanBuilder, Decimal128Builder, Int64Builder, StringBuilder, TimestampMillisecondBuilder,
};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use cdr_client::{Failure, decimal, quoted};
use ocs_proto::cdr::v1::RatedCdr;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;

use crate::schema::{COLUMNS, Column, Kind, VERSION, Value};

/// Records of one row group.
const GROUP: usize = 131_072;
/// Records that are handed to the writer together.
const TOGETHER: usize = 4096;
/// Compression level of zstd: beyond, files shrink little and take long.
const LEVEL: i32 = 3;
/// Digits and decimals of money.
const DIGITS: u8 = 38;
const DECIMALS: i8 = 6;

/// Columns that are written.
pub(crate) fn columns(with_identities: bool) -> Vec<&'static Column> {
    COLUMNS.iter().filter(|column| with_identities || !column.is_identity).collect()
}

/// What is wrong with a value.
fn too_large(cdr: &RatedCdr, column: &Column) -> Failure {
    Failure(format!("CDR {}: {} is larger than its column can say", cdr.position, column.name))
}

/// Writes records in a form.
pub(crate) trait Form<W> {
    /// Adds one.
    fn push(&mut self, cdr: &RatedCdr) -> Result<(), Failure>;
    /// Writes what is left, and hands the octets' end back.
    fn finish(self: Box<Self>) -> Result<W, Failure>;
}

/// CSV, RFC 4180: a head line, then one line a record.
pub(crate) struct Csv<W> {
    out: W,
    columns: Vec<&'static Column>,
    line: String,
}

fn io(error: &dyn std::fmt::Display) -> Failure {
    Failure(format!("writing the file: {error}"))
}

impl<W: Write> Csv<W> {
    /// Begins a file.
    pub(crate) fn begin(mut out: W, columns: Vec<&'static Column>) -> Result<Self, Failure> {
        let names: Vec<&str> = columns.iter().map(|column| column.name).collect();
        writeln!(out, "{}", names.join(",")).map_err(|error| io(&error))?;
        Ok(Self { out, columns, line: String::new() })
    }
}

impl<W: Write> Form<W> for Csv<W> {
    fn push(&mut self, cdr: &RatedCdr) -> Result<(), Failure> {
        self.line.clear();
        for (place, column) in self.columns.iter().enumerate() {
            if place > 0 {
                self.line.push(',');
            }
            match (column.value)(cdr) {
                Value::None => {}
                Value::Text(text) => self.line.push_str(&quoted(&text)),
                Value::Int(number) => self.line.push_str(&number.to_string()),
                Value::Money(micros) => self.line.push_str(&decimal(micros)),
                Value::Time(millis) => {
                    let at = jiff::Timestamp::from_millisecond(millis).map_err(|_| too_large(cdr, column))?;
                    self.line.push_str(&format!("{at:.3}"));
                }
                Value::Bool(is_so) => self.line.push_str(if is_so { "true" } else { "false" }),
                Value::TooLarge => return Err(too_large(cdr, column)),
            }
        }
        self.line.push('\n');
        self.out.write_all(self.line.as_bytes()).map_err(|error| io(&error))
    }

    fn finish(mut self: Box<Self>) -> Result<W, Failure> {
        self.out.flush().map_err(|error| io(&error))?;
        Ok(self.out)
    }
}

/// Parquet.
pub(crate) struct Parquet<W: Write + Send> {
    writer: ArrowWriter<W>,
    schema: SchemaRef,
    columns: Vec<(&'static Column, Builder)>,
    held: usize,
}

/// Builds a column's part of a batch.
enum Builder {
    Text(StringBuilder),
    Int(Int64Builder),
    Money(Decimal128Builder),
    Time(TimestampMillisecondBuilder),
    Bool(BooleanBuilder),
}

impl Builder {
    fn of(kind: Kind) -> Result<Self, Failure> {
        Ok(match kind {
            Kind::Text => Self::Text(StringBuilder::new()),
            Kind::Int => Self::Int(Int64Builder::new()),
            Kind::Money => {
                let builder = Decimal128Builder::new().with_precision_and_scale(DIGITS, DECIMALS);
                Self::Money(builder.map_err(|error| io(&error))?)
            }
            Kind::Time => Self::Time(TimestampMillisecondBuilder::new().with_timezone("UTC")),
            Kind::Bool => Self::Bool(BooleanBuilder::new()),
        })
    }

    fn push(&mut self, value: &Value<'_>) -> bool {
        match (self, value) {
            (Self::Text(builder), Value::Text(text)) => builder.append_value(text),
            (Self::Int(builder), Value::Int(number)) => builder.append_value(*number),
            (Self::Money(builder), Value::Money(micros)) => builder.append_value(i128::from(*micros)),
            (Self::Time(builder), Value::Time(millis)) => builder.append_value(*millis),
            (Self::Bool(builder), Value::Bool(is_so)) => builder.append_value(*is_so),
            (Self::Text(builder), Value::None) => builder.append_null(),
            (Self::Int(builder), Value::None) => builder.append_null(),
            (Self::Money(builder), Value::None) => builder.append_null(),
            (Self::Time(builder), Value::None) => builder.append_null(),
            (Self::Bool(builder), Value::None) => builder.append_null(),
            (
                Self::Text(_) | Self::Int(_) | Self::Money(_) | Self::Time(_) | Self::Bool(_),
                Value::Text(_) | Value::Int(_) | Value::Money(_) | Value::Time(_) | Value::Bool(_) | Value::TooLarge,
            ) => return false,
        }
        true
    }

    fn take(&mut self) -> ArrayRef {
        match self {
            Self::Text(builder) => ArrayBuilder::finish(builder),
            Self::Int(builder) => ArrayBuilder::finish(builder),
            Self::Money(builder) => ArrayBuilder::finish(builder),
            Self::Time(builder) => ArrayBuilder::finish(builder),
            Self::Bool(builder) => ArrayBuilder::finish(builder),
        }
    }
}

fn data_type(kind: Kind) -> DataType {
    match kind {
        Kind::Text => DataType::Utf8,
        Kind::Int => DataType::Int64,
        Kind::Money => DataType::Decimal128(DIGITS, DECIMALS),
        Kind::Time => DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
        Kind::Bool => DataType::Boolean,
    }
}

impl<W: Write + Send> Parquet<W> {
    /// Begins a file.
    pub(crate) fn begin(out: W, columns: Vec<&'static Column>) -> Result<Self, Failure> {
        let fields: Vec<Field> =
            columns.iter().map(|column| Field::new(column.name, data_type(column.kind), true)).collect();
        let schema: SchemaRef = Arc::new(Schema::new(fields));
        let level = ZstdLevel::try_new(LEVEL).map_err(|error| io(&error))?;
        let version = KeyValue::new("ocs.cdr.schema".to_owned(), VERSION.to_string());
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(level))
            .set_max_row_group_row_count(Some(GROUP))
            .set_created_by(format!("ocs-cdr-files schema {VERSION}"))
            .set_key_value_metadata(Some(vec![version]))
            .build();
        let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
        let writer = ArrowWriter::try_new_with_options(out, schema.clone(), options).map_err(|error| io(&error))?;
        let columns = columns.into_iter().map(|column| Ok((column, Builder::of(column.kind)?)));
        Ok(Self { writer, schema, columns: columns.collect::<Result<_, Failure>>()?, held: 0 })
    }

    fn hand_on(&mut self) -> Result<(), Failure> {
        let arrays = self.columns.iter_mut().map(|(_, builder)| builder.take()).collect();
        self.held = 0;
        let batch = RecordBatch::try_new(self.schema.clone(), arrays).map_err(|error| io(&error))?;
        self.writer.write(&batch).map_err(|error| io(&error))
    }
}

impl<W: Write + Send> Form<W> for Parquet<W> {
    fn push(&mut self, cdr: &RatedCdr) -> Result<(), Failure> {
        for (column, builder) in &mut self.columns {
            if !builder.push(&(column.value)(cdr)) {
                return Err(too_large(cdr, column));
            }
        }
        self.held += 1;
        if self.held >= TOGETHER { self.hand_on() } else { Ok(()) }
    }

    fn finish(mut self: Box<Self>) -> Result<W, Failure> {
        if self.held > 0 {
            self.hand_on()?;
        }
        self.writer.into_inner().map_err(|error| io(&error))
    }
}
