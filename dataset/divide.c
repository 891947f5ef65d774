#include "dataset/divide.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/file.h"
#include "core/memory.h"
#include "dataset/near_duplicates.h"

const char *lap_side_name(lap_side side) {
  static const char *const names[LAP_SIDES] = {"train", "dev", "test"};
  return names[side];
}

typedef struct {
  char *path, *temporary;
  FILE *file;
} side_file;

typedef struct {
  const lap_divide_options *options;
  lap_split corpus; /* opened without a holdout of its own */
  lap_near_duplicates *seen;
  uint64_t seen_apart; /* documents of the texts apart */
  uint8_t *stays;      /* [count] of the documents in order: 0 or 1 */
  size_t count, capacity;
  size_t at;            /* the document that a later visit is at */
  size_t at_file;       /* and the file */
  uint64_t bytes;       /* of text so far, in the first visit */
  uint64_t bytes_again; /* and in a later one */
  lap_holdout test, dev;
  side_file file[LAP_SIDES];
  bool is_published;
  lap_divide_counts *counts;
} division;

/* --- which documents stay --- */

static void add_verdict(division *p, bool stays) {
  if (p->count == p->capacity) {
    p->capacity = p->capacity ? 2 * p->capacity : 4096;
    p->stays = lap_reallocate(p->stays, (int64_t)p->capacity, sizeof *p->stays);
  }
  p->stays[p->count++] = stays;
}

static lap_code see(void *context, const char *text, size_t bytes, lap_status *status) {
  (void)status;
  division *p = context;
  ++p->seen_apart;
  lap_near_duplicates_repeats(p->seen, text, bytes);
  return LAP_OK;
}

static lap_code judge(void *context, bool held_out, const char *text, size_t bytes,
                      lap_status *status) {
  (void)held_out, (void)status;
  division *p = context;
  const bool beyond = p->options->limit > 0 && p->bytes >= p->options->limit;
  const bool repeats = !beyond && p->seen && lap_near_duplicates_repeats(p->seen, text, bytes);
  p->bytes += bytes;
  add_verdict(p, !beyond && !repeats);
  p->counts->beyond += beyond;
  p->counts->repeated += repeats;
  p->counts->repeated_bytes += repeats ? bytes : 0;
  if (!beyond && !repeats && p->options->test > 0) lap_holdout_add(&p->test, text, bytes);
  return LAP_OK;
}

/* --- the same documents again --- */

static lap_code has_changed(const division *p, lap_status *status) {
  const lap_document_source *source = &p->corpus.source;
  return lap_fail(status, LAP_DATA,
                  "%s: has changed while it was read%s; split it when nothing writes to it",
                  source->texts[0], source->text_count > 1 ? ", or another of the files has" : "");
}

/* Whether the next document stays. */
static lap_code take_verdict(division *p, size_t bytes, bool *stays, lap_status *status) {
  if (p->at == p->count) return has_changed(p, status);
  *stays = p->stays[p->at++];
  p->bytes_again += bytes;
  return LAP_OK;
}

/* A later visit: of as many documents with as much text as the first saw. */
static lap_code visit_again(division *p, const char *step, lap_split_visitor visit,
                            lap_status *status) {
  p->at = 0;
  p->bytes_again = 0;
  LAP_TRY(lap_split_visit(&p->corpus, step, visit, p, NULL, status));
  return p->at == p->count && p->bytes_again == p->bytes ? LAP_OK : has_changed(p, status);
}

/* Documents that are not of the test side. */
static lap_code offer_to_dev(void *context, bool held_out, const char *text, size_t bytes,
                             lap_status *status) {
  (void)held_out;
  division *p = context;
  bool stays = false;
  LAP_TRY(take_verdict(p, bytes, &stays, status));
  if (stays && !lap_holdout_has(&p->test, text, bytes)) lap_holdout_add(&p->dev, text, bytes);
  return LAP_OK;
}

/* A text always keeps its first document, unless that is near to one of the texts apart. */
static lap_code nothing_stays(const division *p, lap_status *status) {
  const lap_document_source *source = &p->corpus.source;
  if (p->counts->repeated == 0) return lap_findings_no_text(&p->counts->findings, source, status);
  return lap_fail(status, LAP_DATA,
                  "%s%s: no text is left: all of its %" PRIu64
                  " documents are near-duplicates of the held-out text of --apart, %s (of a suite: "
                  "one of sets); give another text, or leave that one out of --apart",
                  source->texts[0], source->text_count > 1 ? " and the other files" : "",
                  p->counts->repeated, p->options->apart[0]);
}

static lap_code choose(division *p, lap_status *status) {
  const lap_divide_options *o = p->options;
  LAP_TRY(lap_split_visit(&p->corpus, "look for near-duplicates", judge, p, &p->counts->findings,
                          status));
  size_t stay = 0;
  for (size_t i = 0; i < p->count; ++i) stay += p->stays[i];
  if (stay == 0) return nothing_stays(p, status);
  if (o->dev + o->test == 0) return LAP_OK;
  if (stay < LAP_FEWEST_DOCUMENTS)
    return lap_fail(status, LAP_USAGE,
                    "the text has %zu document%s (%" PRIu64
                    " near-duplicates are left out): at least %d are needed to hold some out; say "
                    "what a document is with --documents line, blank or jsonl:KEY",
                    stay, stay == 1 ? "" : "s", p->counts->repeated, LAP_FEWEST_DOCUMENTS);
  if (o->test > 0) LAP_TRY(lap_holdout_choose(&p->test, o->test, status));
  if (o->dev == 0) return LAP_OK;
  LAP_TRY(visit_again(p, "choose what is held out", offer_to_dev, status));
  return lap_holdout_choose(&p->dev, o->dev / (1 - o->test), status);
}

/* --- writing --- */

static lap_code write_document(void *context, bool held_out, const char *text, size_t bytes,
                               lap_status *status) {
  (void)held_out;
  division *p = context;
  bool stays = false;
  LAP_TRY(take_verdict(p, bytes, &stays, status));
  if (!stays) return LAP_OK;
  lap_side side = LAP_SIDE_TRAIN;
  if (lap_holdout_has(&p->test, text, bytes))
    side = LAP_SIDE_TEST;
  else if (lap_holdout_has(&p->dev, text, bytes))
    side = LAP_SIDE_DEV;
  FILE *file = p->file[side].file;
  json_t *value = json_stringn(text, bytes);
  fprintf(file, "{\"file\": %zu, \"text\": ", p->at_file);
  json_dumpf(value, file, JSON_ENCODE_ANY);
  json_decref(value);
  if (fputs("}\n", file) == EOF) return lap_file_fail(p->file[side].path, "be written", status);
  ++p->counts->side[side].documents;
  p->counts->side[side].bytes += bytes;
  return LAP_OK;
}

static char *path_of(const char *out, lap_side side) {
  return lap_format("%s/%s.jsonl", out, lap_side_name(side));
}

static lap_code open_side(division *p, lap_side side, lap_status *status) {
  side_file *file = &p->file[side];
  int descriptor;
  file->path = path_of(p->options->out, side);
  lap_file_remove_temporaries(file->path);
  LAP_TRY(lap_file_open_temporary(file->path, &descriptor, &file->temporary, status));
  file->file = fdopen(descriptor, "w");
  return file->file ? LAP_OK : lap_file_fail(file->path, "be opened", status);
}

/* A split that was killed between two names has left the sides that had theirs, beside the
 * temporary file of train, which would have got its name last. Their names were free before. */
static lap_code remove_half(const char *out, lap_status *status) {
  char *train = path_of(out, LAP_SIDE_TRAIN);
  const bool is_half = !lap_file_exists(train) && lap_file_has_temporaries(train);
  free(train);
  lap_code code = LAP_OK;
  for (int side = LAP_SIDE_DEV; is_half && side < LAP_SIDES && code == LAP_OK; ++side) {
    char *path = path_of(out, (lap_side)side);
    code = lap_file_remove_tree(path, status);
    free(path);
  }
  return code;
}

static lap_code check_nothing_is_there(const char *out, lap_status *status) {
  for (int side = 0; side < LAP_SIDES; ++side) {
    char *path = path_of(out, (lap_side)side);
    const bool is_there = lap_file_exists(path);
    if (is_there)
      lap_fail(status, LAP_USAGE,
               "%s: is there already; nothing is overwritten, and sides of two splits may share "
               "text: remove train.jsonl, dev.jsonl and test.jsonl, or give another directory",
               path);
    free(path);
    if (is_there) return LAP_USAGE;
  }
  return LAP_OK;
}

static lap_code bring_to_disk(side_file *file, lap_status *status) {
  bool good = fflush(file->file) == 0 && !ferror(file->file) && fsync(fileno(file->file)) == 0;
  good = fclose(file->file) == 0 && good;
  file->file = NULL;
  return good ? LAP_OK : lap_file_fail(file->path, "be written", status);
}

static bool has_side(const division *p, lap_side side) {
  if (side == LAP_SIDE_TRAIN) return true;
  return side == LAP_SIDE_DEV ? p->options->dev > 0 : p->options->test > 0;
}

/* All are on disk: they get their names one after the other, train last, so that with it all are
 * there. After a failure none is left. */
static lap_code publish_sides(division *p, lap_status *status) {
  lap_code code = LAP_OK;
  for (int side = LAP_SIDES - 1; side >= 0 && code == LAP_OK; --side)
    if (has_side(p, (lap_side)side))
      code = lap_file_publish(p->file[side].temporary, p->file[side].path, status);
  for (int side = 0; side < LAP_SIDES && code != LAP_OK; ++side)
    if (has_side(p, (lap_side)side)) unlink(p->file[side].path);
  p->is_published = code == LAP_OK;
  return code;
}

static lap_code write_sides(division *p, lap_status *status) {
  for (int side = 0; side < LAP_SIDES; ++side)
    if (has_side(p, (lap_side)side)) LAP_TRY(open_side(p, (lap_side)side, status));
  p->corpus.source.at_text = &p->at_file;
  LAP_TRY(visit_again(p, "write", write_document, status));
  for (int side = 0; side < LAP_SIDES; ++side)
    if (has_side(p, (lap_side)side)) LAP_TRY(bring_to_disk(&p->file[side], status));
  return publish_sides(p, status);
}

static void release_side(side_file *file, bool is_published) {
  if (file->file) fclose(file->file);
  if (file->temporary && !is_published) unlink(file->temporary);
  free(file->path);
  free(file->temporary);
}

/* --- the whole --- */

static lap_code check(const lap_divide_options *o, lap_status *status) {
  if (!(o->dev >= 0 && o->test >= 0 && o->dev + o->test < 1))
    return lap_fail(status, LAP_USAGE,
                    "dev and test: expected shares of less than 1 together, found %g and %g",
                    o->dev, o->test);
  const double similarity = o->near_duplicates;
  if (similarity != 0 && !(similarity >= LAP_LEAST_SIMILARITY && similarity <= 1))
    return lap_fail(status, LAP_USAGE,
                    "near-duplicates: expected 0, or %g to 1, found %g; of pairs that are less "
                    "alike most would not be found",
                    LAP_LEAST_SIMILARITY, similarity);
  if (similarity == 0 && o->apart_count > 0)
    return lap_fail(status, LAP_USAGE,
                    "near-duplicates: expected %g to 1 with texts to keep apart, found 0, which "
                    "keeps nothing apart",
                    LAP_LEAST_SIMILARITY);
  return LAP_OK;
}

static lap_code see_apart(division *p, lap_status *status) {
  if (!p->seen || p->options->apart_count == 0) return LAP_OK;
  const lap_document_source apart = {.mode = LAP_DOCUMENTS_JSONL,
                                     .key = "text",
                                     .texts = p->options->apart,
                                     .text_count = p->options->apart_count};
  lap_findings findings;
  LAP_TRY(lap_documents_visit(&apart, "read the texts apart", see, p, &findings, status));
  static const char expected[] =
      "texts to keep apart are JSON lines {\"text\": \"...\"}, as split writes them";
  const lap_finding *broken = &findings.of[LAP_FINDING_BROKEN_JSON];
  const lap_finding *other = broken->count ? broken : &findings.of[LAP_FINDING_NO_TEXT];
  if (other->count > 0) return lap_fail(status, LAP_DATA, "%s; %s", other->first, expected);
  if (p->seen_apart > 0) return LAP_OK;
  return lap_fail(status, LAP_DATA, "%s: no text was found; %s", p->options->apart[0], expected);
}

static lap_code run(division *p, lap_status *status) {
  LAP_TRY(check(p->options, status));
  LAP_TRY(remove_half(p->options->out, status));
  LAP_TRY(check_nothing_is_there(p->options->out, status));
  lap_split_options text = p->options->text;
  text.holdout = 0;
  LAP_TRY(lap_split_open(&text, &p->corpus, status));
  if (p->corpus.corpus.once)
    return lap_fail(status, LAP_USAGE,
                    "%s: is not a regular file, and the text has to be read several times: save it "
                    "in a file first",
                    p->corpus.corpus.pipe);
  if (p->options->near_duplicates > 0)
    p->seen = lap_near_duplicates_create(p->options->near_duplicates);
  LAP_TRY(see_apart(p, status));
  LAP_TRY(choose(p, status));
  return write_sides(p, status);
}

lap_code lap_divide(const lap_divide_options *options, lap_divide_counts *counts,
                    lap_status *status) {
  *counts = (lap_divide_counts){0};
  division p = {.options = options,
                .counts = counts,
                .test.seed = options->text.seed,
                .dev.seed = options->text.seed};
  const lap_code code = run(&p, status);
  for (int side = 0; side < LAP_SIDES; ++side) release_side(&p.file[side], p.is_published);
  lap_holdout_release(&p.test);
  lap_holdout_release(&p.dev);
  lap_near_duplicates_destroy(p.seen);
  lap_split_close(&p.corpus);
  free(p.stays);
  return code;
}
