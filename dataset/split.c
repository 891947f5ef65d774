#include "dataset/split.h"

enum { FEW_DOCUMENTS = 20, LARGEST_BLOCK = 64 << 10, SMALLEST_BLOCK = 1 << 10 };

static lap_code add_to_holdout(void *context, const char *text, size_t bytes, lap_status *status) {
  (void)status;
  lap_holdout_add(&((lap_split *)context)->holdout, text, bytes);
  return LAP_OK;
}

static lap_code add_blocks_to_holdout(void *context, const char *text, size_t bytes,
                                      lap_status *status) {
  const lap_split *split = context;
  return lap_document_blocks(text, bytes, split->block_bytes, add_to_holdout, context, status);
}

static lap_code choose(lap_split *split, lap_status *status) {
  static const char step[] = "choose what is held out";
  lap_findings findings;
  if (split->corpus.once)
    return lap_fail(status, LAP_USAGE,
                    "%s: is not a regular file; to hold text out it has to be read twice: save it "
                    "in a file first",
                    split->corpus.pipe);
  LAP_TRY(lap_documents_visit(&split->source, step, add_to_holdout, split, &findings, status));
  if (split->holdout.count == 0) return lap_findings_no_text(&findings, &split->source, status);
  if (split->holdout.count < FEW_DOCUMENTS) {
    uint64_t block = split->holdout.bytes / FEW_DOCUMENTS;
    if (block > LARGEST_BLOCK) block = LARGEST_BLOCK;
    if (block < SMALLEST_BLOCK) block = SMALLEST_BLOCK;
    split->block_bytes = block;
    lap_holdout_release(&split->holdout);
    LAP_TRY(lap_documents_visit(&split->source, step, add_blocks_to_holdout, split, NULL, status));
  }
  return lap_holdout_choose(&split->holdout, split->share, status);
}

static lap_code open_all(const lap_split_options *options, lap_split *split, lap_status *status) {
  if (!(options->holdout >= 0 && options->holdout < 1))
    return lap_fail(status, LAP_USAGE, "holdout: expected 0 to below 1, found %g",
                    options->holdout);
  const char *how = options->documents ? options->documents : "file";
  LAP_TRY(lap_documents_parse(how, &split->source, status));
  LAP_TRY(lap_corpus_open(options->inputs, options->input_count, &split->corpus, options->hook,
                          status));
  split->source.texts = (const char *const *)split->corpus.paths;
  split->source.text_count = split->corpus.count;
  split->source.text_bytes = split->corpus.bytes;
  split->source.strict = options->strict;
  split->source.in_parts = options->in_parts && split->share == 0;
  split->source.hook = options->hook;
  return split->share > 0 ? choose(split, status) : LAP_OK;
}

lap_code lap_split_open(const lap_split_options *options, lap_split *split, lap_status *status) {
  *split = (lap_split){.share = options->holdout, .holdout.seed = options->seed};
  const lap_code code = open_all(options, split, status);
  if (code != LAP_OK) lap_split_close(split);
  return code;
}

void lap_split_close(lap_split *split) {
  lap_corpus_close(&split->corpus);
  lap_holdout_release(&split->holdout);
  *split = (lap_split){0};
}

typedef struct {
  const lap_split *split;
  lap_split_visitor visit;
  void *context;
} side_of;

static lap_code visit_side(void *context, const char *text, size_t bytes, lap_status *status) {
  const side_of *at = context;
  const bool held_out = lap_holdout_has(&at->split->holdout, text, bytes);
  return at->visit(at->context, held_out, text, bytes, status);
}

static lap_code visit_blocks(void *context, const char *text, size_t bytes, lap_status *status) {
  const side_of *at = context;
  return lap_document_blocks(text, bytes, at->split->block_bytes, visit_side, context, status);
}

lap_code lap_split_visit(const lap_split *split, const char *step, lap_split_visitor visit,
                         void *context, lap_findings *findings, lap_status *status) {
  side_of at = {split, visit, context};
  return lap_documents_visit(&split->source, step, split->block_bytes ? visit_blocks : visit_side,
                             &at, findings, status);
}
