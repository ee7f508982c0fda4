#include "fetch/fetch_query.hpp"

#include "pg/compat.hpp"

extern "C" {
#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "nodes/makefuncs.h"
#include "parser/analyze.h"
#include "parser/parser.h"
#include "tcop/utility.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"
#include "utils/typcache.h"
}

namespace pgcache {

namespace {

// ---- what is asked

struct Parameters {
  Oid* types;
  int count;
};

// Places that an error names are places in the query.
void point_into_query(void* text) {
  const int position = geterrposition();
  if (position > 0) {
    errposition(0);
    internalerrposition(position);
    internalerrquery(static_cast<const char*>(text));
  }
  errcontext("query of cache_fetch");
}

RawStmt* parsed(const char* text) {
  List* statements = raw_parser(text, RAW_PARSE_DEFAULT);
  if (list_length(statements) != 1)
    ereport(ERROR, (errcode(ERRCODE_SYNTAX_ERROR),
                    errmsg("cache_fetch takes one query, these are %d statements", list_length(statements))));
  return linitial_node(RawStmt, statements);
}

// What subqueries, views and functions do is refused when it runs: the transaction is read-only then.
void require_read_only(const Query* query) {
  if (query->commandType == CMD_SELECT && !query->hasModifyingCTE && query->rowMarks == NIL) return;
  ereport(
      ERROR,
      (errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
       query->utilityStmt == nullptr
           ? errmsg("cache_fetch cannot run a query that changes or locks rows")
           : errmsg("cache_fetch cannot run %s", GetCommandTagName(CreateCommandTag(query->utilityStmt))),
       errhint("It takes a query that only reads: SELECT, VALUES, TABLE or WITH, without FOR UPDATE or FOR SHARE.")));
}

Parameters check(const char* text) {
  RawStmt* statement = parsed(text);
  Parameters parameters{nullptr, 0};
  const Query* query = parse_analyze_varparams(statement, text, &parameters.types, &parameters.count, nullptr);
  require_read_only(query);
  for (int i = 0; i < parameters.count; ++i)
    if (parameters.types[i] == InvalidOid || parameters.types[i] == UNKNOWNOID) parameters.types[i] = TEXTOID;
  return parameters;
}

Parameters check_query(const char* text) {
  ErrorContextCallback callback{error_context_stack, point_into_query, const_cast<char*>(text)};
  error_context_stack = &callback;
  const Parameters parameters = check(text);
  error_context_stack = callback.previous;
  return parameters;
}

int count_of(const Jsonb* params) { return params == nullptr ? 0 : static_cast<int>(JB_ROOT_COUNT(params)); }

void require_count(const Parameters& parameters, const Jsonb* params) {
  if (count_of(params) == parameters.count) return;
  ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                  errmsg("the query has %d parameters, params has %d", parameters.count, count_of(params)),
                  errhint("params is a JSON array with a value for each of $1, $2 and so on.")));
}

// ---- its parameters: PostgreSQL makes a record of JSON, arrays and composites included

struct Bound {
  Datum* values;
  char* nulls;
};

Bound bind(const Parameters& parameters, const Jsonb* params) {
  const auto count = static_cast<size_t>(parameters.count);
  Bound bound{static_cast<Datum*>(palloc0(sizeof(Datum) * (count + 1))), static_cast<char*>(palloc0(count + 1))};
  if (count == 0) return bound;
  StringInfoData statement;
  initStringInfo(&statement);
  appendStringInfoString(&statement,
                         "SELECT r.* FROM pg_catalog.jsonb_to_record((SELECT pg_catalog.jsonb_object_agg("
                         "pg_catalog.concat('p', e.number), e.value) FROM pg_catalog.jsonb_array_elements($1) WITH "
                         "ORDINALITY AS e(value, number))) AS r(");
  for (int i = 0; i < parameters.count; ++i)
    appendStringInfo(
        &statement, "%sp%d %s", i == 0 ? "" : ", ", i + 1,
        format_type_extended(parameters.types[i], -1, FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY));
  appendStringInfoChar(&statement, ')');
  Oid type = JSONBOID;
  Datum value = JsonbPGetDatum(params);
  if (const int result = SPI_execute_with_args(statement.data, 1, &type, &value, nullptr, true, 1);
      result != SPI_OK_SELECT || SPI_processed != 1)
    elog(ERROR, "could not read the params of cache_fetch: %s", SPI_result_code_string(result));
  for (int i = 0; i < parameters.count; ++i) {
    bool is_null = false;
    bound.values[i] = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, i + 1, &is_null);
    bound.nulls[i] = is_null ? 'n' : ' ';
  }
  return bound;
}

// ---- its result

Datum to_jsonb(Datum value, Oid type) {
  FmgrInfo function;
  fmgr_info(F_TO_JSONB, &function);
  List* argument = list_make1(makeNullConst(type, -1, InvalidOid));
  fmgr_info_set_expr(reinterpret_cast<Node*>(
                         makeFuncExpr(F_TO_JSONB, JSONBOID, argument, InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL)),
                     &function);
  return FunctionCall1(&function, value);
}

Datum json_null() {
  JsonbValue null;
  null.type = jbvNull;
  return JsonbPGetDatum(JsonbValueToJsonb(&null));
}

Datum array_of_rows(SPITupleTable* rows, uint64 count) {
  TupleDesc descriptor = BlessTupleDesc(rows->tupdesc);
  auto* records = static_cast<Datum*>(palloc_extended(sizeof(Datum) * count, MCXT_ALLOC_HUGE));
  for (uint64 i = 0; i < count; ++i) records[i] = heap_copy_tuple_as_datum(rows->vals[i], descriptor);
  ArrayType* array = construct_array(records, static_cast<int>(count), RECORDOID, -1, false, TYPALIGN_DOUBLE);
  return to_jsonb(PointerGetDatum(array), RECORDARRAYOID);
}

// The value of one row of one column; an array of rows as objects; null of no row.
Datum result_as_jsonb(SPITupleTable* rows, uint64 count) {
  if (count == 0) return json_null();
  if (count > 1 || rows->tupdesc->natts != 1) return array_of_rows(rows, count);
  bool is_null = false;
  const Datum value = SPI_getbinval(rows->vals[0], rows->tupdesc, 1, &is_null);
  return is_null ? json_null() : to_jsonb(value, SPI_gettypeid(rows->tupdesc, 1));
}

// ---- the run

// Whether the statements that run now are part of a result that roles and tenants may not share unasked.
bool unshared = false;
ExecutorStart_hook_type previous_start = nullptr;

// As what PostgreSQL's own plans count as depending on it: also where it does not apply to who asks.
bool depends_on_row_security(PlannedStmt& statement) {
  ListCell* cell;
  foreach (cell, statement.rtable) {
    auto* entry = lfirst_node(RangeTblEntry, cell);
    if (entry->rtekind == RTE_RELATION &&
        check_enable_rls(entry->relid, pg::checked_as(statement, *entry), true) != RLS_NONE)
      return true;
  }
  return false;
}

// Queries inside functions come here too.
void start_query(QueryDesc* query, int flags) {
  if (unlikely(unshared) && depends_on_row_security(*query->plannedstmt))
    ereport(ERROR,
            (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
             errmsg("cache_fetch cannot share a result that depends on row-level security"),
             errhint("If the key names whatever the policies depend on, such as the tenant and the role, say shared => "
                     "true.")));
  if (previous_start != nullptr)
    previous_start(query, flags);
  else
    standard_ExecutorStart(query, flags);
}

Jsonb* run(const FetchQuery& query, const Parameters& parameters) {
  const Bound bound = bind(parameters, query.params);
  SPIPlanPtr plan = SPI_prepare_cursor(query.text, parameters.count, parameters.types, CURSOR_OPT_PARALLEL_OK);
  if (plan == nullptr) elog(ERROR, "could not prepare the query: %s", SPI_result_code_string(SPI_result));
  const int result =
      SPI_execute_snapshot(plan, bound.values, bound.nulls, GetActiveSnapshot(), InvalidSnapshot, false, false, 0);
  if (result != SPI_OK_SELECT) elog(ERROR, "could not run the query: %s", SPI_result_code_string(result));
  const struct varlena* jsonb = PG_DETOAST_DATUM(result_as_jsonb(SPI_tuptable, SPI_processed));
  auto* copy = static_cast<Jsonb*>(SPI_palloc(VARSIZE(jsonb)));
  memcpy(static_cast<void*>(copy), jsonb, VARSIZE(jsonb));
  return copy;
}

}  // namespace

void install_fetch_query() {
  previous_start = ExecutorStart_hook;
  ExecutorStart_hook = start_query;
}

Jsonb* run_query(const FetchQuery& query) {
  const Parameters parameters = check_query(query.text);
  require_count(parameters, query.params);
  // So that functions in it change nothing either. An ERROR ends the transaction or subtransaction, and this with it.
  const bool was_read_only = XactReadOnly;
  const bool was_unshared = unshared;
  Jsonb* volatile result = nullptr;
  XactReadOnly = true;
  SPI_connect();
  PG_TRY();
  {
    unshared = was_unshared || !query.shared;
    result = run(query, parameters);
  }
  PG_FINALLY();
  { unshared = was_unshared; }
  PG_END_TRY();
  SPI_finish();
  if (!XactReadOnly)
    ereport(ERROR, (errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
                    errmsg("the query of cache_fetch has ended the transaction's being read-only")));
  XactReadOnly = was_read_only;
  return result;
}

}  // namespace pgcache
