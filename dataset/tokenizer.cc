#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <string>
#include <unordered_map>
#include <vector>

extern "C" {
#include "core/file.h"
#include "core/hash.h"
#include "core/memory.h"
#include "core/status.h"
#include "core/text.h"
#include "dataset/tokenizer_model.h"
}
#include "core/sandbox.h"
#include "dataset/tokenizer.h"

namespace spm = sentencepiece;

struct lap_tokenizer {
  lap_tokenizer_model model = {};
  char sha256[LAP_SHA256_HEX] = {};
  spm::SentencePieceProcessor processor;
  std::vector<uint32_t> ids;
  std::vector<int> segment;

  ~lap_tokenizer() { lap_tokenizer_model_release(&model); }
};

namespace {

struct FileCloser {
  void operator()(FILE *file) const { fclose(file); }
};

/* At most one byte more than a model may have, which the parser then refuses. */
lap_code ReadModel(const char *path, std::string *bytes, lap_status *status) {
  std::unique_ptr<FILE, FileCloser> file(fopen(path, "rbe"));
  if (!file) return lap_fail(status, LAP_DATA, "%s: cannot be opened: %s", path, strerror(errno));
  char block[1 << 16];
  size_t count;
  while (bytes->size() <= LAP_MODEL_MAX_BYTES &&
         (count = fread(block, 1, sizeof block, file.get())) > 0)
    bytes->append(block, count);
  if (ferror(file.get()))
    return lap_fail(status, LAP_DATA, "%s: cannot be read: %s", path, strerror(errno));
  return LAP_OK;
}

/* What a model may cost: the largest ones take a fraction of this. */
constexpr double kSandboxSeconds = 10;
constexpr size_t kSandboxBytes = size_t{1} << 30;

/* Ordinary text, and a sample of the model's own pieces, which every table of the library meets. */
std::string ProbeText(const lap_tokenizer_model &model) {
  std::string text =
      "In the  beginning\n\n\t12 \xC3\xA9 \xE6\xBC\xA2\xE5\xAD\x97 \xF0\x9F\x99\x82 <s>";
  const uint32_t step = model.piece_count / 1024 + 1;
  for (uint32_t id = 0; id < model.piece_count; id += step)
    text.append(model.pieces[id].text, model.pieces[id].text_bytes);
  return text;
}

/* What a child gives SentencePiece to do: the model's bytes and a text. */
struct Attempt {
  const std::string *bytes, *text;
  const char *path;
};

lap_code TryModel(const void *context, void *, lap_status *status) {
  const auto *attempt = static_cast<const Attempt *>(context);
  std::string refusal;
  try {
    spm::SentencePieceProcessor processor;
    std::vector<int> ids;
    auto result = processor.LoadFromSerializedProto(*attempt->bytes);
    if (result.ok()) result = processor.Encode(*attempt->text, &ids);
    if (result.ok()) return LAP_OK;
    refusal = result.ToString();
  } catch (const std::bad_alloc &) {
    refusal = "it needs more than " + std::to_string(kSandboxBytes >> 20) + " MiB of memory";
  } catch (const std::exception &error) {
    refusal = error.what();
  }
  return lap_fail(status, LAP_DATA,
                  "%s: SentencePiece refuses it: %s; the model is damaged: train or copy it again",
                  attempt->path, refusal.c_str());
}

lap_code OpenTokenizer(const char *path, lap_tokenizer *tokenizer, lap_status *status) {
  std::string bytes;
  LAP_TRY(ReadModel(path, &bytes, status));
  if (lap_tokenizer_model_parse(bytes.data(), bytes.size(), &tokenizer->model, status) != LAP_OK)
    return lap_fail_context(status, "%s", path);
  const std::string text = ProbeText(tokenizer->model);
  const Attempt attempt = {&bytes, &text, path};
  const lap_sandbox sandbox = {path, "SentencePiece", kSandboxSeconds, kSandboxBytes};
  LAP_TRY(lap_sandbox_run(&sandbox, TryModel, &attempt, nullptr, 0, status));
  const auto loaded = tokenizer->processor.LoadFromSerializedProto(bytes);
  if (!loaded.ok())
    return lap_fail(status, LAP_DATA, "%s: SentencePiece refuses it: %s", path, loaded.message());
  uint8_t digest[LAP_SHA256_SIZE];
  lap_sha256(bytes.data(), bytes.size(), digest);
  lap_sha256_hex(digest, tokenizer->sha256);
  return LAP_OK;
}

/* Bytes at `text` that the library would not give back: NUL, U+2581 (which it reads as a space) and
 * whatever is not UTF-8. They become byte pieces here. */
size_t ReservedBytes(const char *text, size_t bytes) {
  const size_t length = lap_utf8_character(text, bytes);
  if (length == 0 || text[0] == '\0') return 1;
  return length == 3 && memcmp(text, "\xE2\x96\x81", 3) == 0 ? 3 : 0;
}

bool IsBreak(const lap_tokenizer_model &model, const char *text) {
  if (model.breaks_before_space && text[0] == ' ' && text[-1] != ' ') return true;
  return model.breaks_after_newline && text[0] != '\n' && text[-1] == '\n';
}

/* The library's memory grows with what it is given at once (100 times its size), so a long text
 * goes to it in segments, cut where no piece could have crossed; a run without such a place is cut
 * at a character. */
const size_t kSegmentBytes = 64 << 10;
const size_t kLongestSegmentBytes = 1 << 20;

size_t SegmentBytes(const lap_tokenizer_model &model, const char *text, size_t bytes) {
  size_t at = 0;
  while (at < bytes) {
    if (at >= kSegmentBytes && IsBreak(model, text + at)) return at;
    if (at >= kLongestSegmentBytes) return at;
    if (model.has_bytes && ReservedBytes(text + at, bytes - at) > 0) return at;
    const size_t length = lap_utf8_character(text + at, bytes - at);
    at += length > 0 ? length : 1;
  }
  return at;
}

lap_code EncodeText(lap_tokenizer *tokenizer, const char *text, size_t bytes, lap_status *status) {
  const lap_tokenizer_model &model = tokenizer->model;
  tokenizer->ids.clear();
  for (size_t at = 0; at < bytes;) {
    const size_t segment = SegmentBytes(model, text + at, bytes - at);
    if (segment == 0) {
      const size_t reserved = ReservedBytes(text + at, bytes - at);
      for (size_t i = 0; i < reserved; ++i)
        tokenizer->ids.push_back(model.byte_id[static_cast<uint8_t>(text[at + i])]);
      at += reserved;
      continue;
    }
    const auto result =
        tokenizer->processor.Encode(absl::string_view(text + at, segment), &tokenizer->segment);
    if (!result.ok()) return lap_fail(status, LAP_DATA, "SentencePiece: %s", result.message());
    for (const int id : tokenizer->segment) tokenizer->ids.push_back(static_cast<uint32_t>(id));
    at += segment;
  }
  return LAP_OK;
}

}  // namespace

lap_code lap_tokenizer_open(const char *path, lap_tokenizer **tokenizer, lap_status *status) {
  *tokenizer = nullptr;
  try {
    auto opened = std::make_unique<lap_tokenizer>();
    LAP_TRY(OpenTokenizer(path, opened.get(), status));
    *tokenizer = opened.release();
    return LAP_OK;
  } catch (const std::exception &error) {
    return lap_fail(status, LAP_DATA, "%s: SentencePiece: %s", path, error.what());
  }
}

void lap_tokenizer_close(lap_tokenizer *tokenizer) { delete tokenizer; }

uint32_t lap_tokenizer_vocab_size(const lap_tokenizer *tokenizer) {
  return tokenizer->model.piece_count;
}

const char *lap_tokenizer_sha256(const lap_tokenizer *tokenizer) { return tokenizer->sha256; }

lap_code lap_tokenizer_encode(lap_tokenizer *tokenizer, const char *text, size_t bytes,
                              const uint32_t **ids, size_t *count, lap_status *status) {
  *ids = nullptr;
  *count = 0;
  try {
    LAP_TRY(EncodeText(tokenizer, text, bytes, status));
  } catch (const std::exception &error) {
    return lap_fail(status, LAP_DATA, "SentencePiece: %s", error.what());
  }
  *ids = tokenizer->ids.data();
  *count = tokenizer->ids.size();
  return LAP_OK;
}

char *lap_tokenizer_decode(lap_tokenizer *tokenizer, const uint32_t *ids, size_t count,
                           size_t *bytes) {
  std::string text;
  for (size_t i = 0; i < count; ++i) {
    if (ids[i] >= tokenizer->model.piece_count) {
      text += "\xEF\xBF\xBD";
      continue;
    }
    const lap_piece &piece = tokenizer->model.pieces[ids[i]];
    if (piece.kind == LAP_PIECE_UNKNOWN) text += "\xE2\x81\x87";
    text.append(piece.text, piece.text_bytes);
  }
  if (bytes) *bytes = text.size();
  return static_cast<char *>(
      memcpy(lap_allocate(text.size() + 1, 1), text.c_str(), text.size() + 1));
}

const char *lap_tokenizer_piece(lap_tokenizer *tokenizer, uint32_t id) {
  if (id >= tokenizer->model.piece_count) return "<outside the vocabulary>";
  return tokenizer->model.pieces[id].name;
}

size_t lap_tokenizer_piece_bytes(lap_tokenizer *tokenizer, uint32_t id) {
  return id < tokenizer->model.piece_count ? tokenizer->model.pieces[id].text_bytes : 0;
}

namespace {

/* The trainer takes sentences. A line is one, long lines are several, cut before a space, where
 * pieces never cross. U+2581 and U+2585 are cut out: the trainer reads the one as a space and skips
 * sentences with the other. */
class Sentences final : public spm::SentenceIterator {
 public:
  Sentences(const char *const *texts, size_t count) : texts_(texts), count_(count) { Next(); }
  ~Sentences() override { lap_text_close(&reader_); }
  bool done() const override { return done_; }
  const std::string &value() const override { return sentence_; }
  spm::util::Status status() const override { return {}; }
  const lap_status &failure() const { return failure_; }

  void Next() override {
    while (!done_) {
      if (left_ > 0 && Cut()) return;
      if (left_ == 0 && Line() != LAP_OK) done_ = true;
    }
  }

 private:
  static constexpr size_t kLongestSentence = 4096;

  /* Moves the next sentence out of the line; false where that gives none. */
  bool Cut() {
    size_t at = 0, skip = 0;
    while (at < left_ && at < kLongestSentence && (skip = Excluded(line_ + at, left_ - at)) == 0)
      ++at;
    if (skip == 0 && at < left_) {
      size_t cut = at;
      while (cut > 1 && !(line_[cut] == ' ' && line_[cut - 1] != ' ')) --cut;
      at = cut > 1 ? cut : lap_utf8_floor(line_, at);
    }
    sentence_.assign(line_, at);
    line_ += at + skip;
    left_ -= at + skip;
    return at > 0;
  }

  static size_t Excluded(const char *text, size_t bytes) {
    const bool is = bytes >= 3 &&
                    (memcmp(text, "\xE2\x96\x81", 3) == 0 || memcmp(text, "\xE2\x96\x85", 3) == 0);
    return is ? 3 : 0;
  }

  /* The next line of the current text or of those after it; LAP_STOPPED after the last. */
  lap_code Line() {
    if (!reader_.file) {
      if (next_ == count_) return LAP_STOPPED;
      LAP_TRY(lap_text_open(texts_[next_++], &reader_, &failure_));
    }
    LAP_TRY(lap_text_line(&reader_, &line_, &left_, &failure_));
    if (line_) return LAP_OK;
    if (reader_.offset == 0)
      return lap_fail(&failure_, LAP_DATA, "%s: is empty; there is nothing to learn from",
                      reader_.path);
    lap_text_close(&reader_);
    return LAP_OK;
  }

  const char *const *texts_;
  size_t count_, next_ = 0;
  lap_text_reader reader_ = {};
  const char *line_ = nullptr;
  size_t left_ = 0;
  std::string sentence_;
  bool done_ = false;
  lap_status failure_ = {};
};

/* Line breaks and tabs never lie inside a learned piece: the trainer sees lines, and splits at
 * tabs. So runs of up to four are pieces of their own. Runs of spaces are learned. */
const char kOwnPieces[] = "\n,\n\n,\n\n\n,\n\n\n\n,\t,\t\t,\t\t\t,\t\t\t\t";
const uint32_t kSmallestVocabulary =
    4 + 8 + 256 + 1; /* special, own and byte pieces, and one more */

std::unordered_map<std::string, std::string> TrainerOptions(uint32_t vocab_size) {
  return {{"model_type", "bpe"},
          {"vocab_size", std::to_string(vocab_size)},
          {"byte_fallback", "true"},
          {"split_digits", "true"},
          {"allow_whitespace_only_pieces", "true"},
          {"normalization_rule_name", "identity"},
          {"add_dummy_prefix", "false"},
          {"remove_extra_whitespaces", "false"},
          {"user_defined_symbols", kOwnPieces},
          {"pad_id", "0"},
          {"eos_id", "1"},
          {"bos_id", "2"},
          {"unk_id", "3"},
          {"max_sentence_length", "65536"},
          {"num_threads", "1"},
          {"minloglevel", "3"}};
}

/* The library knows what vocabulary a text can fill only when it has tried. */
lap_code ExplainTrainer(const char *message, uint32_t vocab_size, lap_status *status) {
  const char *most = strstr(message, "to a value <= ");
  const char *least = strstr(message, " vs ");
  if (strstr(message, "too high") && most)
    return lap_fail(status, LAP_USAGE,
                    "a vocabulary of %u is too large for this text: it holds at most %d pieces; "
                    "ask for fewer or give more text",
                    vocab_size, atoi(most + strlen("to a value <= ")));
  if (strstr(message, "smaller than required_chars") && least)
    return lap_fail(status, LAP_USAGE,
                    "a vocabulary of %u is too small for this text: its characters alone need %d",
                    vocab_size, atoi(least + strlen(" vs ")));
  if (strstr(message, "!sentences_.empty()"))
    return lap_fail(status, LAP_DATA, "the texts hold nothing but line breaks");
  return lap_fail(status, LAP_DATA, "SentencePiece cannot train on this text: %s", message);
}

lap_code TrainModel(const char *const *texts, size_t text_count, uint32_t vocab_size,
                    std::string *model, lap_status *status) {
  Sentences sentences(texts, text_count);
  if (sentences.failure().code == LAP_OK) {
    const auto result =
        spm::SentencePieceTrainer::Train(TrainerOptions(vocab_size), &sentences, model);
    if (!result.ok() && sentences.failure().code == LAP_OK)
      return ExplainTrainer(result.message(), vocab_size, status);
  }
  if (sentences.failure().code == LAP_OK) return LAP_OK;
  return lap_fail(status, sentences.failure().code, "%s", sentences.failure().message);
}

}  // namespace

lap_code lap_tokenizer_train(const char *const *texts, size_t text_count, uint32_t vocab_size,
                             const char *path, lap_status *status) {
  if (text_count == 0) return lap_fail(status, LAP_USAGE, "no text files to train on were given");
  if (vocab_size < kSmallestVocabulary || vocab_size > LAP_MODEL_MAX_PIECES)
    return lap_fail(status, LAP_USAGE, "a vocabulary of %u: expected %u to %d", vocab_size,
                    kSmallestVocabulary, LAP_MODEL_MAX_PIECES);
  try {
    std::string model;
    LAP_TRY(TrainModel(texts, text_count, vocab_size, &model, status));
    lap_tokenizer_model checked;
    if (lap_tokenizer_model_parse(model.data(), model.size(), &checked, status) != LAP_OK)
      return lap_fail_context(status, "%s: the trained model", path);
    lap_tokenizer_model_release(&checked);
    lap_file_remove_temporaries(path);
    return lap_file_write(path, model.data(), model.size(), status);
  } catch (const std::exception &error) {
    return lap_fail(status, LAP_DATA, "SentencePiece: %s", error.what());
  }
}
