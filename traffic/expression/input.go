package expression

import (
	"fmt"
	"reflect"
	"time"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/interpreter"
)

// Input is one request as expressions see it. It is asked only for what an expression
// evaluates, and must not change while one does.
type Input interface {
	// Text returns an attribute that is a string; empty if the request has none.
	Text(a Attribute) string
	// Number returns SourcePort, or Now in nanoseconds since the Unix epoch.
	Number(a Attribute) int64
	// Lookup returns the value of Headers (names are lower case; several of one name are joined
	// by commas), Query (the first, decoded) or Cookies (the first), and whether there is one.
	Lookup(c Attribute, name string) (value string, ok bool)
}

// Attribute is something that expressions see of a request.
type Attribute uint8

// The attributes, by their names in expressions.
const (
	Method         Attribute = iota // request.method
	Scheme                          // request.scheme: http or https, as the client used it
	Host                            // request.host: lower case, without port
	Path                            // request.path: in the form that routes see
	Headers                         // request.headers["x-user"]
	Query                           // request.query["q"]
	Cookies                         // request.cookies["sid"]
	SourceAddress                   // source.address: the client's, after trusted proxies
	SourcePort                      // source.port: the client's; 0 if a trusted proxy tells only its address
	Identity                        // identity: the client's verified SPIFFE id
	RouteNamespace                  // route.namespace
	RouteName                       // route.name
	RouteRule                       // route.rule: its name, or its index
	Now                             // now: the time, UTC
	attributes
)

// attribute describes an Attribute.
type attribute struct {
	name string // in expressions
	typ  *types.Type
	// size is the most characters of the value, or of each value of a collection.
	size uint64
}

// table describes every Attribute, which is its index.
var table = [attributes]attribute{
	Method:         {"request.method", types.StringType, 32},
	Scheme:         {"request.scheme", types.StringType, 5},
	Host:           {"request.host", types.StringType, maxValue},
	Path:           {"request.path", types.StringType, maxValue},
	Headers:        {"request.headers", collectionType, maxValue},
	Query:          {"request.query", collectionType, maxValue},
	Cookies:        {"request.cookies", collectionType, maxValue},
	SourceAddress:  {"source.address", types.StringType, 45},
	SourcePort:     {"source.port", types.IntType, 0},
	Identity:       {"identity", types.StringType, 2048},
	RouteNamespace: {"route.namespace", types.StringType, 253},
	RouteName:      {"route.name", types.StringType, 253},
	RouteRule:      {"route.rule", types.StringType, 253},
	Now:            {"now", types.TimestampType, 0},
}

var collectionType = types.NewMapType(types.StringType, types.StringType)

// String returns the name of the attribute in expressions.
func (a Attribute) String() string { return table[a].name }

// collection reports whether the attribute's values have names.
func (a Attribute) collection() bool { return table[a].typ == collectionType }

// attributeOf returns the attribute with the name in expressions.
func attributeOf(name string) (Attribute, bool) {
	for a := range attributes {
		if table[a].name == name {
			return a, true
		}
	}
	return 0, false
}

// text makes a value of a string, or the error that it is too long: what an expression costs
// was estimated for strings of this size.
func text(a Attribute, s string) ref.Val {
	if uint64(len(s)) > table[a].size {
		return types.NewErr("%s is longer than %d bytes", table[a].name, table[a].size)
	}
	return types.String(s)
}

// activation is an Input as the interpreter asks for it.
type activation struct {
	in                      Input
	headers, query, cookies collection
}

// newActivation makes one for the pool.
func newActivation() any {
	a := new(activation)
	a.headers = collection{activation: a, of: Headers}
	a.query = collection{activation: a, of: Query}
	a.cookies = collection{activation: a, of: Cookies}
	return a
}

// ResolveName returns the value of a variable.
func (a *activation) ResolveName(name string) (any, bool) {
	at, ok := attributeOf(name)
	if !ok {
		return nil, false
	}
	switch at {
	case Headers:
		return &a.headers, true
	case Query:
		return &a.query, true
	case Cookies:
		return &a.cookies, true
	case SourcePort:
		return types.Int(a.in.Number(at)), true
	case Now:
		return types.Timestamp{Time: time.Unix(0, a.in.Number(at)).UTC()}, true
	}
	return text(at, a.in.Text(at)), true
}

// Parent returns nil: there are no other variables.
func (a *activation) Parent() interpreter.Activation { return nil }

// collection is Headers, Query or Cookies as a value. The names that an expression asks for
// are all that is known of it; it is no map that could be listed, which check sees to.
type collection struct {
	*activation
	of Attribute
}

// Get returns the value with a name, and "" where there is none.
func (c *collection) Get(name ref.Val) ref.Val {
	key, ok := name.(types.String)
	if !ok {
		return types.MaybeNoSuchOverloadErr(name)
	}
	value, _ := c.in.Lookup(c.of, string(key))
	return text(c.of, value)
}

// Contains tells whether there is a value with the name, for in.
func (c *collection) Contains(name ref.Val) ref.Val {
	key, ok := name.(types.String)
	if !ok {
		return types.MaybeNoSuchOverloadErr(name)
	}
	_, there := c.in.Lookup(c.of, string(key))
	return types.Bool(there)
}

// IsSet is Contains, for has.
func (c *collection) IsSet(name ref.Val) ref.Val { return c.Contains(name) }

// ConvertToNative refuses.
func (c *collection) ConvertToNative(reflect.Type) (any, error) {
	return nil, fmt.Errorf("%s is no value of its own", c.of)
}

// ConvertToType refuses.
func (c *collection) ConvertToType(ref.Type) ref.Val { return types.MaybeNoSuchOverloadErr(c) }

// Equal refuses.
func (c *collection) Equal(ref.Val) ref.Val { return types.MaybeNoSuchOverloadErr(c) }

// Type returns the type that collections are declared with.
func (c *collection) Type() ref.Type { return collectionType }

// Value returns the collection itself.
func (c *collection) Value() any { return c }
