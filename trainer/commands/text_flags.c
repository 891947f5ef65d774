#include "trainer/commands/text_flags.h"

const lap_flag lap_text_flags[] = {
    {.name = "documents",
     .value = "HOW",
     .offset = offsetof(lap_split_options, documents),
     .help =
         "what a document is: file, line, blank (blocks between blank lines) or jsonl:KEY [file]"},
    {.name = "holdout",
     .value = "F",
     .real = {0, 0.999},
     .offset = offsetof(lap_split_options, holdout),
     .help = "share of the text held out for evaluation, by whole documents, or by contiguous "
             "blocks of 64 KiB where there are few; the same for tokenizer and tokenize [0]"},
    {.name = "seed",
     .value = "N",
     .integer = {0, INT64_MAX},
     .offset = offsetof(lap_split_options, seed),
     .help = "which documents are held out, or drawn by --sample [1]"},
    {.name = "strict",
     .offset = offsetof(lap_split_options, strict),
     .help = "stop at the first thing that is wrong in the text, with exit code 3"},
    {0}};

lap_split_options lap_text_options(void) { return (lap_split_options){.seed = 1}; }

void lap_text_say_findings(lap_console *console, const lap_findings *findings) {
  for (int kind = 0; kind < LAP_FINDING_KINDS; ++kind) {
    char text[2 * LAP_FINDING_TEXT];
    if (findings->of[kind].count == 0) continue;
    lap_finding_describe((lap_finding_kind)kind, &findings->of[kind], text, sizeof text);
    if (lap_finding_is_fault((lap_finding_kind)kind))
      lap_console_warn(console, "%s", text);
    else
      lap_console_say(console, "%s", text);
  }
}

json_t *lap_text_findings_json(const lap_findings *findings) {
  json_t *object = json_object();
  for (int kind = 0; kind < LAP_FINDING_KINDS; ++kind)
    json_object_set_new(object, lap_finding_name((lap_finding_kind)kind),
                        json_integer((json_int_t)findings->of[kind].count));
  return object;
}
