/* special_ids: the token ids that lapidary relies on, which are Gemma's. */
#ifndef LAP_DATASET_SPECIAL_IDS_H
#define LAP_DATASET_SPECIAL_IDS_H

enum { LAP_PAD = 0, LAP_EOS = 1, LAP_BOS = 2, LAP_UNK = 3 };

#endif
