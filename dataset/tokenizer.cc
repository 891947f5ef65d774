#include <sentencepiece_processor.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <string>
#include <vector>

extern "C" {
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
  } catch (const std::bad_alloc &) {
    return lap_fail(status, LAP_USAGE,
                    "%s: out of memory in SentencePiece; use fewer ranks on this node", path);
  } catch (const std::exception &error) {
    return lap_fail(status, LAP_DATA, "%s: SentencePiece: %s", path, error.what());
  }
}

void lap_tokenizer_close(lap_tokenizer *tokenizer) { delete tokenizer; }

uint32_t lap_tokenizer_vocab_size(const lap_tokenizer *tokenizer) {
  return tokenizer->model.piece_count;
}

bool lap_tokenizer_has_bytes(const lap_tokenizer *tokenizer) { return tokenizer->model.has_bytes; }

const char *lap_tokenizer_sha256(const lap_tokenizer *tokenizer) { return tokenizer->sha256; }

lap_code lap_tokenizer_encode(lap_tokenizer *tokenizer, const char *text, size_t bytes,
                              const uint32_t **ids, size_t *count, lap_status *status) {
  *ids = nullptr;
  *count = 0;
  try {
    LAP_TRY(EncodeText(tokenizer, text, bytes, status));
  } catch (const std::bad_alloc &) {
    return lap_fail(status, LAP_USAGE,
                    "out of memory in SentencePiece; use fewer ranks on this node");
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
      text += LAP_REPLACEMENT;
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
