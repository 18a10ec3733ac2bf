/*
 * The tokeniser. The first byte says what the rest is: 0 text for a fixed vocabulary, 1 a
 * vocab.txt, 2 a tokenizer.json, 3 a tokenizer_config.json. What can be read tokenises a text.
 */
#include "formats/wordpiece.h"

#include "base/assert.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define LENGTH 12

static const char fixed[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n##a\nab\n##b\n##abc\nthe\n.\n"
                            "\xc3\xa9\n\xe4\xb8\xad\n##\xc3\xbc\n";

static void encode(const struct wordpiece *wordpiece, const char *bytes, size_t size) {
    static int32_t ids[2 * LENGTH], types[2 * LENGTH];
    const struct wordpiece_text whole = {bytes, size}, half = {bytes, size / 2},
                                rest = {bytes + size / 2, size - size / 2};
    for (size_t length = WORDPIECE_SHORTEST; length <= LENGTH; length++) {
        for (int pair = 0; pair < 2; pair++) {
            const size_t count = wordpiece_encode(wordpiece, pair ? &half : &whole,
                                                  pair ? &rest : NULL, length, ids, types);
            ASSERT(count >= (pair ? 3U : 2U) && count <= length);
            for (size_t i = 0; i < count; i++) {
                ASSERT(ids[i] >= 0 && ids[i] < wordpiece_size(wordpiece));
                ASSERT(types[i] == 0 || (pair && types[i] == 1));
            }
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) {
        return 0;
    }
    const char *bytes = (const char *)data + 1;
    struct wordpiece_files files = {.vocab = fixed, .vocab_size = sizeof fixed - 1};
    switch (data[0] % 4) {
    case 1:
        files.vocab = bytes;
        files.vocab_size = size - 1;
        break;
    case 2:
        files.tokenizer = bytes;
        files.tokenizer_size = size - 1;
        break;
    case 3:
        files.tokenizer_config = bytes;
        files.tokenizer_config_size = size - 1;
        break;
    default:
        break;
    }
    struct wordpiece *wordpiece;
    struct shoal_error error = {.text = ""};
    if (wordpiece_create(&files, &wordpiece, &error) != SHOAL_OK) {
        ASSERT(error.text[0] != '\0');
        return 0;
    }
    encode(wordpiece, bytes, size - 1);
    static const char text[] = "The abc, \xc3\x89\xe4\xb8\xad ab[MASK]\xff <x>abca";
    encode(wordpiece, text, sizeof text - 1);
    wordpiece_destroy(wordpiece);
    return 0;
}
