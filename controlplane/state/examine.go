package state

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
)

// A damaged page has the library loop for ever, or touch memory that is not there. So a file is examined
// by this reader first, which believes nothing, and the library opens only what is whole. The form is
// that of bbolt's file format 2, in the machine's byte order:
//
//	page       id 8, flags 2, count 2, overflow 4; then what the flags say
//	meta       magic 4, version 4, page size 4, flags 4, root 8, sequence 8, freelist 8, end 8, tx 8, FNV-1a 8
//	branch     elements of position 4, key size 4, page 8; keys
//	leaf       elements of flags 4, position 4, key size 4, value size 4; keys and values
//	bucket     a leaf's value: root 8, sequence 8; a page of its own follows where root is 0
//	free list  pages, 8 each; where count is 65535 the first number is how many
//
// A transaction overwrites the older one of two meta pages, and the library goes by the one that is whole
// if the other is not. That is right after a power cut in the middle of it, but a page that was damaged
// later would take a decision back that proxies have heard of: so both must be whole, and neighbours.
const (
	headSize    = 16
	elementSize = 16
	metaSize    = 64

	branchPage   = 0x01
	leafPage     = 0x02
	freelistPage = 0x10
	bucketLeaf   = 0x01

	maxDepth = 32
)

// meta is what counts of a meta page.
type meta struct {
	pageSize, root, freelist, end, tx uint64
}

// examiner reads a file.
type examiner struct {
	data   []byte
	meta   meta
	seen   map[uint64]bool // pages
	values map[string]map[string][]byte
	have   manifest
	want   manifest
}

// examine returns every value of a file and what they add up to, or what is wrong with it.
func examine(data []byte) (map[string]map[string][]byte, manifest, error) {
	x := &examiner{data: data, seen: map[uint64]bool{0: true, 1: true}, values: map[string]map[string][]byte{}}
	err := x.metas()
	if err == nil {
		err = x.page(x.meta.root, span{}, 0, x.bucket)
	}
	if err == nil {
		err = x.free()
	}
	if err != nil {
		return nil, manifest{}, err
	}
	switch x.have.Format = x.want.Format; {
	case x.want.Format == 0:
		return nil, manifest{}, errors.New("it has no manifest")
	case x.want.Format != format:
		return nil, manifest{}, fmt.Errorf("%w: format %d, want %d", errVersion, x.want.Format, format)
	case x.have != x.want:
		return nil, manifest{}, fmt.Errorf("%d entries with the sum %08x, want %d with %08x", x.have.Entries, x.have.Sum, x.want.Entries, x.want.Sum)
	}
	return x.values, x.have, nil
}

// metas reads both meta pages.
func (x *examiner) metas() error {
	first, err := x.readMeta(0)
	if err != nil {
		return err
	}
	if first.pageSize < 1<<9 || first.pageSize > 1<<20 {
		return fmt.Errorf("its pages have %d bytes", first.pageSize)
	}
	second, err := x.readMeta(first.pageSize)
	if err != nil {
		return err
	}
	if x.meta = first; second.tx > first.tx {
		x.meta = second
	}
	switch {
	case first.tx+1 != second.tx && second.tx+1 != first.tx:
		return fmt.Errorf("its last transactions are %d and %d, which do not follow each other", first.tx, second.tx)
	case x.meta.end > uint64(len(x.data))/x.meta.pageSize:
		return fmt.Errorf("it has %d bytes, want %d pages", len(x.data), x.meta.end)
	}
	return nil
}

func (x *examiner) readMeta(at uint64) (meta, error) {
	if uint64(len(x.data)) < at+headSize+metaSize {
		return meta{}, errors.New("it ends in its meta pages")
	}
	m := x.data[at+headSize:]
	sum := fnv.New64a()
	_, _ = sum.Write(m[:56])
	if number(m[56:]) != sum.Sum64() {
		return meta{}, errors.New("the checksum of a meta page is wrong")
	}
	return meta{uint64(binary.NativeEndian.Uint32(m[8:])), number(m[16:]), number(m[32:]), number(m[40:]), number(m[48:])}, nil
}

func number(b []byte) uint64 { return binary.NativeEndian.Uint64(b) }

// take returns the bytes of a page, which is read once.
func (x *examiner) take(id uint64) ([]byte, error) {
	if id >= x.meta.end || x.seen[id] {
		return nil, fmt.Errorf("page %d is not there, or in two places", id)
	}
	head := x.data[id*x.meta.pageSize:]
	overflow := uint64(binary.NativeEndian.Uint32(head[12:]))
	if number(head) != id || overflow >= x.meta.end-id {
		return nil, fmt.Errorf("page %d says it is page %d with %d more", id, number(head), overflow)
	}
	for i := id; i <= id+overflow; i++ {
		if x.seen[i] {
			return nil, fmt.Errorf("page %d is in two places", i)
		}
		x.seen[i] = true
	}
	return head[:(overflow+1)*x.meta.pageSize], nil
}

// span is where keys must be: from the first to before the last. nil is no bound.
type span struct{ from, to []byte }

// leaf is what becomes of an element of a leaf.
type leaf func(flags uint32, key, value []byte) error

func (x *examiner) page(id uint64, within span, depth int, each leaf) error {
	if depth > maxDepth {
		return errors.New("its pages are too deep")
	}
	page, err := x.take(id)
	if err != nil {
		return err
	}
	return x.elements(page, within, depth, each)
}

func (x *examiner) elements(page []byte, within span, depth int, each leaf) error {
	flags, count := binary.NativeEndian.Uint16(page[8:]), int(binary.NativeEndian.Uint16(page[10:]))
	if flags != branchPage && flags != leafPage || flags == branchPage && count == 0 {
		return fmt.Errorf("a page has the flags %x and %d elements", flags, count)
	}
	elements, err := keysOf(page, count, flags == leafPage, within)
	if err != nil {
		return err
	}
	for i, e := range elements {
		if flags == leafPage {
			err = each(e.flags, e.key, e.value)
		} else {
			below := span{e.key, within.to}
			if i+1 < len(elements) {
				below.to = elements[i+1].key
			}
			err = x.page(e.page, below, depth+1, each)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

type element struct {
	flags      uint32
	page       uint64
	key, value []byte
}

// keysOf reads the elements of a page, whose keys must rise.
func keysOf(page []byte, count int, isLeaf bool, within span) ([]element, error) {
	if len(page) < headSize+count*elementSize {
		return nil, fmt.Errorf("a page has %d elements and %d bytes", count, len(page))
	}
	list := make([]element, 0, count)
	for i := range count {
		at := headSize + i*elementSize
		raw := page[at:]
		var e element
		var position, key, value uint64
		if isLeaf {
			e.flags = binary.NativeEndian.Uint32(raw)
			position, key, value = uint64(binary.NativeEndian.Uint32(raw[4:])), uint64(binary.NativeEndian.Uint32(raw[8:])), uint64(binary.NativeEndian.Uint32(raw[12:]))
		} else {
			position, key = uint64(binary.NativeEndian.Uint32(raw)), uint64(binary.NativeEndian.Uint32(raw[4:]))
			e.page = number(raw[8:])
		}
		if position+key+value > uint64(len(raw)) {
			return nil, errors.New("an element lies outside of its page")
		}
		e.key, e.value = raw[position:position+key], raw[position+key:position+key+value]
		if bytes.Compare(e.key, within.from) < 0 || within.to != nil && bytes.Compare(e.key, within.to) >= 0 ||
			i > 0 && bytes.Compare(e.key, list[i-1].key) <= 0 {
			return nil, errors.New("its keys are not in order")
		}
		list = append(list, e)
	}
	return list, nil
}

// bucket reads an element of the root, each of which is a bucket.
func (x *examiner) bucket(flags uint32, name, value []byte) error {
	if flags != bucketLeaf || len(value) < 16 {
		return fmt.Errorf("bucket %q is none", name)
	}
	each := func(flags uint32, key, stored []byte) error { return x.value(string(name), flags, string(key), stored) }
	if root := number(value); root != 0 {
		return x.page(root, span{}, 0, each)
	}
	inline := value[16:]
	if len(inline) < headSize || binary.NativeEndian.Uint16(inline[8:]) != leafPage {
		return fmt.Errorf("bucket %q has no page", name)
	}
	return x.elements(inline, span{}, 0, each)
}

func (x *examiner) value(bucket string, flags uint32, key string, stored []byte) error {
	if flags != 0 {
		return fmt.Errorf("%s %q is no value", bucket, key)
	}
	value, sum, err := unseal(bucket, key, stored)
	if err != nil {
		return err
	}
	if bucket == string(manifestBucket) {
		return json.Unmarshal(value, &x.want)
	}
	x.have.Entries++
	x.have.Sum ^= sum
	apply(x.values, change{bucket, key, value})
	return nil
}

// free looks at the pages that are free, which nothing else may use.
func (x *examiner) free() error {
	page, err := x.take(x.meta.freelist)
	if err != nil {
		return err
	}
	count, list := uint64(binary.NativeEndian.Uint16(page[10:])), page[headSize:]
	if binary.NativeEndian.Uint16(page[8:]) != freelistPage {
		return errors.New("the list of free pages is none")
	}
	if count == 0xFFFF {
		count, list = number(list), list[8:]
	}
	if count > uint64(len(list))/8 {
		return fmt.Errorf("%d pages are free, in %d bytes", count, len(list))
	}
	for i := range count {
		id := number(list[i*8:])
		if id >= x.meta.end || x.seen[id] {
			return fmt.Errorf("page %d is free, and not there or in use", id)
		}
		x.seen[id] = true
	}
	return nil
}
