/* text_model: a trained model with its tokenizer, for commands that run alone on a text: generate
 * and attend; and what eval --choices shares with them.
 */
#ifndef LAP_TRAINER_COMMANDS_TEXT_MODEL_H
#define LAP_TRAINER_COMMANDS_TEXT_MODEL_H

#include "dataset/tokenizer.h"
#include "trainer/cli/console.h"
#include "trainer/model/source.h"

typedef struct {
  lap_model_source source; /* with weights */
  lap_tokenizer *tokenizer;
} lap_text_model;

/* Not collective. LAP_DATA naming the file. Close it whatever the outcome. */
lap_code lap_text_model_open(const char *path, lap_text_model *model, lap_status *status);
/* The same where every use of the weights is a pass forward: the config takes what --precision says
 * (precision_flag.h), and the weights come in the form that it allows (lap_model_form_of).
 * LAP_USAGE for a word that is no precision. */
lap_code lap_text_model_open_held(const char *path, const char *precision, lap_text_model *model,
                                  lap_status *status);
void lap_text_model_close(lap_text_model *model);

/* The tokenizer beside the weights. LAP_DATA where there is none, or where it has more pieces than
 * the model has. */
lap_code lap_text_model_tokenizer(const lap_model_source *source, lap_tokenizer **tokenizer,
                                  lap_status *status);

/* Opens the products that the model was trained with, or lapidary's own, with a warning, where
 * there are none here. */
lap_code lap_text_model_gemm(const lap_config *config, lap_console *console, lap_status *status);

/* BOS and the tokens of `text` [bytes]; owned by the caller. LAP_USAGE, beginning with `flag`,
 * where they are more than the model has positions. */
lap_code lap_text_model_encode(const lap_text_model *model, const char *flag, const char *text,
                               size_t bytes, int32_t **tokens, int64_t *count, lap_status *status);

#endif
