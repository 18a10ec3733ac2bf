/*
 * Where orientation hides: EXIF 2.32 section 4.6 (a TIFF directory in APP1 or eXIf), XMP as
 * fallback. Damaged metadata never fails a picture: it counts as absent.
 */
#include "formats/image_parts.h"

#include <string.h>

#define TAG_ORIENTATION 0x0112U
#define ENTRY_BYTES ((size_t)12)

enum { TYPE_BYTE = 1, TYPE_SHORT = 3, TYPE_LONG = 4 };

static uint32_t load(const uint8_t *at, int bytes, bool big) {
    uint32_t value = 0;
    for (int i = 0; i < bytes; i++) {
        value |= (uint32_t)at[i] << (8 * (big ? bytes - 1 - i : i));
    }
    return value;
}

static int entry_value(const uint8_t *entry, bool big) {
    if (load(entry + 4, 4, big) != 1) {
        return 0; /* there, but not one number: it turns nothing */
    }
    uint32_t value = 0;
    switch (load(entry + 2, 2, big)) {
    case TYPE_BYTE:
        value = entry[8];
        break;
    case TYPE_SHORT:
        value = load(entry + 8, 2, big);
        break;
    case TYPE_LONG:
        value = load(entry + 8, 4, big);
        break;
    default:
        break;
    }
    return value <= 8 ? (int)value : 0;
}

int image_exif_orientation(const uint8_t *tiff, size_t size) {
    if (size < 8 || (memcmp(tiff, "II*\0", 4) != 0 && memcmp(tiff, "MM\0*", 4) != 0)) {
        return IMAGE_ORIENTATION_ABSENT;
    }
    const bool big = tiff[0] == 'M';
    const size_t directory = load(tiff + 4, 4, big);
    if (directory > size - 2) {
        return IMAGE_ORIENTATION_ABSENT;
    }
    const size_t entries = load(tiff + directory, 2, big);
    int orientation = IMAGE_ORIENTATION_ABSENT;
    for (size_t i = 0; i < entries; i++) {
        const size_t at = directory + 2 + i * ENTRY_BYTES;
        if (at > size || size - at < ENTRY_BYTES) {
            break;
        }
        if (load(tiff + at, 2, big) == TAG_ORIENTATION) {
            orientation = entry_value(tiff + at, big); /* the last one counts, as in Pillow */
        }
    }
    return orientation;
}

int image_xmp_orientation(const uint8_t *xmp, size_t size) {
    static const char key[] = "tiff:Orientation";
    const size_t length = sizeof key - 1;
    const uint8_t *at = xmp, *const end = xmp + size;
    while (at < end && (at = memmem(at, (size_t)(end - at), key, length)) != NULL) {
        at += length;
        const size_t left = (size_t)(end - at);
        size_t mark = 0;
        if (left >= 3 && memcmp(at, "=\"", 2) == 0) {
            mark = 2;
        } else if (left >= 2 && at[0] == '>') {
            mark = 1;
        }
        if (mark > 0 && at[mark] >= '0' && at[mark] <= '9') {
            return at[mark] - '0';
        }
    }
    return IMAGE_ORIENTATION_ABSENT;
}

static void read_app1(const uint8_t *data, size_t size, int *exif, int *xmp) {
    static const char xmp_name[] = "http://ns.adobe.com/xap/1.0/";
    if (size > 6 && memcmp(data, "Exif\0\0", 6) == 0) {
        if (*exif == IMAGE_ORIENTATION_ABSENT) {
            *exif = image_exif_orientation(data + 6, size - 6);
        }
    } else if (size > sizeof xmp_name && memcmp(data, xmp_name, sizeof xmp_name) == 0) {
        *xmp = image_xmp_orientation(data + sizeof xmp_name, size - sizeof xmp_name);
    }
}

size_t image_jpeg_scan(const uint8_t *bytes, size_t size, int *orientation) {
    int exif = IMAGE_ORIENTATION_ABSENT, xmp = IMAGE_ORIENTATION_ABSENT;
    size_t at = 2, scan = 0; /* after the start-of-image marker */
    while (at + 4 <= size) {
        if (bytes[at] != 0xFF) {
            at++; /* junk between segments is skipped, as decoders do */
            continue;
        }
        const unsigned marker = bytes[at + 1];
        if (marker == 0xFF) {
            at++;
            continue;
        }
        at += 2;
        if (marker == 0 || marker == 0x01 || (marker >= 0xD0 && marker <= 0xD8)) {
            continue; /* these have no length */
        }
        if (marker == 0xD9) {
            break;
        }
        if (marker == 0xDA) {
            scan = at;
            break;
        }
        const size_t length = load(bytes + at, 2, true);
        if (length < 2 || length > size - at) {
            break;
        }
        if (marker == 0xE1) {
            read_app1(bytes + at + 2, length - 2, &exif, &xmp);
        }
        at += length;
    }
    *orientation = exif != IMAGE_ORIENTATION_ABSENT ? exif : xmp;
    return scan;
}
