/* tokens: what inspect says of token shards and tokenizers. */
#ifndef LAP_TRAINER_INSPECT_TOKENS_H
#define LAP_TRAINER_INSPECT_TOKENS_H

#include "trainer/inspect/inspector.h"

/* Each sets the report's summary. LAP_DATA naming the first problem. */
lap_code lap_inspect_token_shard(const lap_inspector *inspector, const char *path,
                                 lap_report *report, lap_status *status);
lap_code lap_inspect_tokenizer(const lap_inspector *inspector, const char *path, lap_report *report,
                               lap_status *status);

#endif
